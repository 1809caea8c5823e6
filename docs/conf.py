"""How the site is built from docs/: see ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

import claude_force_nb

sys.path.insert(0, str(Path(__file__).resolve().parent / "_extensions"))

project = "claude_force_nb"
author = "The claude_force_nb developers"
version = release = claude_force_nb.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "runnable_pages",
]
exclude_patterns = ["_extensions", "_static"]
nitpicky = True
# The build needs no network, so what other projects document is not linked; what is ours has to be found.
nitpick_ignore_regex = [("py:.*", r"(?!claude_force_nb\.).*")]

# Parts of the package that stand in a signature and that nobody makes or calls from outside.
nitpick_ignore = [
    ("py:class", f"claude_force_nb.{name}")
    for name in (
        "answers.lines.AnswerLine",
        "answers.lines.KnownAnswer",
        "answers.lines.LineFault",
        "api.answer.Answer",
        "api.answer.PartialAnswer",
        "api.batches.ApiBatches",
        "api.limits.PacerWait",
        "api.transport.Transport",
        "batches.registry.JobRegistry",
        "batches.registry.JobState",
        "batches.store.JobStore",
        "cache.signing.RecordKeys",
        "calls.events.EventEmitter",
        "calls.settings.Accounts",
        "calls.snapshot.BudgetState",
        "calls.snapshot.Headroom",
        "calls.status.CallState",
        "costs.ledger_rows.LedgerEntry",
        "costs.ledger_rows.LedgerRow",
        "costs.ledger_rows.Speed",
        "costs.model_prices.ModelPrices",
        "costs.reservation.Reservation",
        "memory.conversations.CellRun",
        "memory.conversations.Place",
        "messages.cache_mark.CacheMark",
        "messages.shown.ShownInNotebooks",
        "prompts.values.NamedText",
        "rows.results._Rows",
        "rows.run.Rows",
        "rows.tally.RowTally",
        "simulator.server.Server",
    )
]

# Headings have the anchors that GitHub gives them, so that a link is the same in the repository and on the site.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
# Quotes are set as in print, but the two hyphens of an option stay as they are.
smartquotes_action = "qe"
nb_execution_mode = "force"
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_execution_show_tb = True
# What a cell writes does not land beside the pages.
nb_execution_in_temp = True

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
# As the code has them: the value of a default such as os.environ is that of the machine that builds the site.
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False

copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "pydata_sphinx_theme"
html_title = "claude_force_nb"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {"index": []}
html_theme_options = {
    "logo": {"text": "claude_force_nb"},
    "github_url": "https://github.com/claude-force-nb/claude_force_nb",
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "show_toc_level": 2,
    "show_prev_next": True,
    "header_links_before_dropdown": 5,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
}
copyright = author

linkcheck_ignore = [
    # Not published yet.
    r"https://github\.com/claude-force-nb/.*",
    r"https://mybinder\.org/v2/gh/claude-force-nb/.*",
    r"https?://(127\.0\.0\.1|localhost).*",
]
linkcheck_anchors = False
# Retried before a link counts as broken, since a server may be slow for a moment.
linkcheck_timeout = 30
linkcheck_retries = 3
