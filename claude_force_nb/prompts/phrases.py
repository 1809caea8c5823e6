"""The phrases that `injection.scan` searches for: data only, in lower case; every repetition has a bound."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import FrozenSet, List, Pattern, Tuple

__all__ = ["PHRASES", "Rule", "words_of"]


@dataclass(frozen=True)
class Rule:
    """One family of phrases.

    Attributes
    ----------
    kind : str
        What such a phrase does, for the warning.
    words, also : frozenset of bytes
        A text matches only if it contains at least one of `words` and one of `also`, as split by `words_of`. An empty
        set requires nothing.
    marks : tuple of str
        A text matches only if it contains at least one of these; an empty tuple requires nothing.
    spelled : str
        The regular expression, for text in lower case.
    """

    kind: str
    words: FrozenSet[bytes]
    also: FrozenSet[bytes]
    marks: Tuple[str, ...]
    spelled: str

    @cached_property
    def pattern(self) -> Pattern[str]:
        """The compiled expression. It is compiled on first use, since most texts never contain the words."""
        return re.compile(self.spelled)


_WORDS = bytes(
    code + 32 if 65 <= code <= 90 else code if 97 <= code <= 122 or code >= 128 else 32 for code in range(256)
)


def words_of(text: str) -> List[bytes]:
    """Return the words of a text as UTF-8, with ASCII letters in lower case. Bytes are the fastest form for our look-ups."""
    return text.encode("utf-8", "surrogatepass").translate(_WORDS).split()


def _split(words: str) -> FrozenSet[bytes]:
    return frozenset(words.encode("utf-8").split())


def _rule(kind: str, *patterns: str, words: str = "", also: str = "", marks: Tuple[str, ...] = ()) -> Rule:
    """Make a rule. In a pattern, ``~`` matches a separator of words, and ``~3~`` a separator with up to three more words."""
    spelled = []
    for pattern in patterns:
        pattern = re.sub(r"~(\d)~", r"\\W{1,5}(?:[\\w']{1,20}\\W{1,5}){0,\1}?", pattern)
        spelled.append("(?:{})".format(pattern.replace("~", r"\W{1,5}")))
    return Rule(kind, _split(words), _split(also), marks, "|".join(spelled))


_EARLIER = r"(?:previous|prior|above|preceding|earlier|foregoing|initial|original|system|your|past|former|existing|current|all|any|every|other)"
_ORDERS = (
    r"(?:instructions?|prompts?|guidelines?|directives?|directions|programming|training|commands|system messages?)\b"
)
_TAKE_BACK = "overrides instructions"
_NEW_ORDERS = "gives new instructions"
_NEW_ROLE = "assigns another role"
_ROLE_MARKER = "contains a role marker"
_FALSE_HEADER = "contains a fake system header"
_HIDDEN = "hides text in a comment or a style"
_VERBS = r"\b(?:ignor(?:e|ing)|disregard(?:ing)?|forget|neglect|overlook|bypass|overrid(?:e|ing)|not follow|stop following|n't follow|not obey|no attention to)"

_ORDER_WORDS = "instruction instructions prompt prompts guideline guidelines directive directives directions programming training commands message messages"

PHRASES: Tuple[Rule, ...] = (
    _rule(
        _TAKE_BACK,
        _VERBS + "~4~" + _EARLIER + "~3~" + _ORDERS,
        _VERBS + r"~2~instructions~(?:above|before|that~came~before|(?:that~)?(?:you~were|you've~been|i~gave|were)~)",
        words="ignore ignoring disregard disregarding forget neglect overlook bypass override overriding follow following obey attention",
        also=_ORDER_WORDS,
    ),
    _rule(
        _TAKE_BACK,
        r"\b(?:ignore|disregard|forget)~3~(?:everything|anything|all|whatever)~3~(?:above|before|previously|prior|told|said|so far)\b(?!~(?:errors?|warnings?|lines?|examples?)\b)",
        r"\b(?:ignore|disregard)~(?:all~)?(?:of~)?(?:the|what is|what's)~above~(?:and|text|directions?|content|message|conversation|then)\b",
        r"\bignore~(?:all~|any~)?(?:your|the)~(?:rules|safety|restrictions|filters|policies)\b",
        words="ignore disregard forget",
        also="everything anything all whatever above rules safety restrictions filters policies",
    ),
    _rule(_TAKE_BACK, r"\bi([ ._*-])g\1n\1o\1r\1e\b", words="i", also="g"),
    _rule(
        _NEW_ORDERS,
        r"\b(?:new|updated|revised|real|actual|true|secret|hidden)~(?:system~)?(?:instructions?|directives?)\s{0,2}:",
        r"\b(?:instructions?|directives?)~(?:for|to)~(?:the~|all~|any~|an~)?(?:ai|llms?|assistants?|language models?|chatbots?|claude|chatgpt|gpt|ai models?|ai assistants?|ai agents?)[ \t]{0,2}(?:[:!\n]|reading|processing)",
        words="instruction instructions directive directives",
    ),
    _rule(
        _NEW_ORDERS,
        r"\byour~(?:new|real|actual|true|only)~(?:task|goal|objective|job|purpose|role|instructions?|directives?)~(?:is|are|now)\b",
        words="your",
        also="task goal objective job purpose role instruction instructions directive",
    ),
    _rule(
        _NEW_ORDERS,
        r"\b(?:attention|note~to|message~to|dear|hey)~(?:the~|all~|any~)?(?:ai|llms?|assistant|language models?|claude|chatgpt|gpt|ai models?|ai assistants?)[ \t]{0,2}[:,!]",
        words="attention note message dear hey",
        also="ai llm llms assistant assistants model models claude chatgpt gpt",
    ),
    _rule(
        _NEW_ROLE,
        r"\byou(?:~are|'re)~now~(?:an?~|the~|my~)?(?:[\w-]{1,20}~){0,3}?(?:ai|assistant|bot|chatbot|llm|model|dan|hacker|terminal|unrestricted|uncensored|unfiltered|jailbroken|evil|pirate)\b",
        r"\byou(?:~are|'re)~(?:no~longer|not)~(?:bound|restricted|limited|constrained|governed)~by\b",
        words="you",
        also="now longer not",
    ),
    _rule(
        _NEW_ROLE,
        r"\b(?:act~as|pretend~(?:to~be|that~you(?:~are|'re)|you(?:~are|'re))|simulate|roleplay~as|role~play~as)~(?:an?~|if~you~(?:are|were|had)~)?(?:[\w-]{1,20}~){0,3}?(?:dan|unrestricted|uncensored|unfiltered|jailbroken|evil|no~restrictions|without~(?:any~)?(?:restrictions|rules|filters|limits))\b",
        words="act pretend simulate roleplay role",
        also="dan unrestricted uncensored unfiltered jailbroken evil restrictions rules filters limits",
    ),
    _rule(
        _NEW_ROLE,
        r"\bfrom~now~on~(?:you|every|always|never|respond|answer|your~(?:answers?|name|task|role))\b",
        words="now",
        also="every always never respond answer your you",
    ),
    _rule(
        "asks for a jailbreak",
        r"\bdo~anything~now\b",
        r"\b(?:developer|god|sudo|admin|jailbreak)~mode~(?:is~|has been~|now~)?(?:on|enabled|activated|active|engaged|unlocked)\b",
        r"\b(?:enable|enter|activate|switch~to|unlock|you~are~in)~(?:the~)?(?:god|sudo|jailbreak|unrestricted|dan)~mode\b",
        r"\b(?:is|are|been|you)~jailbroken\b",
        words="anything mode jailbroken",
        also="now developer god sudo admin jailbreak dan unrestricted jailbroken",
    ),
    _rule(
        "asks for the prompt",
        r"\b(?:reveal|repeat|print|show|output|display|disclose|leak|expose|recite|tell~me|give~me|write~down|what~(?:is|are|was|were))~4~(?:your|initial|hidden|original|secret)~2~(?:prompt|instructions|guidelines|system~message)\b",
        r"\b(?:reveal|repeat|disclose|leak|expose|recite)~4~system~(?:prompt|instructions|message)\b",
        words="prompt instructions guidelines message",
        also="reveal repeat print show output display disclose leak expose recite tell give write what",
    ),
    _rule(
        "asks for the prompt",
        r"\b(?:repeat|print|output|recite|copy)~2~(?:words|text|everything|all)~above\b(?!~(?:line|example))",
        words="above",
        also="repeat recite copy output print",
    ),
    _rule(
        _ROLE_MARKER,
        r"<\|{1,2}\s?(?:im_start|im_end|im_sep|system|user|assistant|human|endoftext|endofprompt|end_of_turn|start_header_id|end_header_id|eot_id|begin_of_text|tool_call)\s?\|{1,2}>",
        marks=("<|",),
    ),
    _rule(
        _ROLE_MARKER,
        r"\[/?inst\](?!\W{0,2}[.\[(=])|<</?sys>>",
        words="inst sys",
        marks=(
            "[inst]",
            "[/inst]",
            "<<sys>>",
        ),
    ),
    _rule(_ROLE_MARKER, r"<(?:start|end)_of_turn>", words="turn"),
    _rule(
        _ROLE_MARKER,
        r"</?(?:[a-z]{1,8}:)?(?:function_(?:calls|results?)|tool_(?:results?|use))>|</?assistant>|</(?:user|human)>",
        words="function tool assistant user human",
        marks=(
            "_calls>",
            "_result>",
            "_results>",
            "_use>",
            "assistant>",
            "</user>",
            "</human>",
        ),
    ),
    _rule(
        _FALSE_HEADER,
        r"(?:^|\n)[ \t]{0,3}(?:[-=*#_\[<(]{1,10}[ \t]{0,2}){0,2}(?:system|admin(?:istrator)?|developer)~(?:prompt|message|instructions?|override|command|directive|notice)\b[ \t]{0,2}(?:[-=*#_\]>)]{1,10}(?!\()|:|\n|$)",
        r"\[(?:system|admin|developer)~(?:prompt|message|instructions?|override|note|notice|command)[^\]\n]{0,40}\](?!\()",
        r"</?system[_ -](?:prompt|message|instructions?|reminder|override)>",
        r"\b(?:begin|start|end)(?:ning)?~(?:of~)?(?:the~)?(?:new~|hidden~)?system~(?:prompt|instructions?|message)\b",
        words="system admin developer administrator",
        also="prompt message instruction instructions override command directive note notice reminder",
    ),
    _rule(
        _FALSE_HEADER,
        r"(?:^|\n)[ \t]{0,3}#{1,6}[ \t]{0,3}(?:system|admin|developer)[ \t]{0,2}:?[ \t]{0,3}(?:\n|$)",
        words="system admin developer",
        marks=("# system", "#system", "# admin", "#admin", "# developer", "#developer"),
    ),
    _rule(
        _FALSE_HEADER,
        r"\[(?:system|admin|developer)\][ \t]{0,3}:?[ \t]{1,3}[a-z]|</?system>",
        words="system admin developer",
        marks=("[system]", "[admin]", "[developer]", "<system>", "</system>"),
    ),
    _rule(
        _FALSE_HEADER,
        r"(?:^|\n)[ \t]{0,3}system[ \t]{0,2}:[ \t]{0,3}(?:you|ignore|disregard|forget|from now|the assistant|new|override|always|never|do not)\b",
        words="system",
        marks=("system:", "system :"),
    ),
    _rule(
        "claims authority",
        r"\b(?:this~is|i~am|i'm|message~from|signed~by|on~behalf~of)~(?:the~|your~)?(?:[\w-]{1,15}~)?(?:anthropic|openai|developers?|administrator|creators?)~(?:[\w-]{1,15}~)?(?:team|staff|engineer|support|speaking|here|and~i|you~must|authoriz|authoris)",
        r"\b(?:anthropic|openai)~(?:has~|have~)?(?:authori[sz]ed|approved|instructed|ordered)~(?:you|this|the~assistant)\b",
        words="anthropic openai developer developers administrator creator creators",
        also="team staff engineer support speaking here you this assistant",
    ),
    _rule(
        _HIDDEN,
        r"<!--(?=[^>]{0,400}\b(?:ais?|llms?|assistants?|language models?|chatbots?|claude|chatgpt|gpt)\b)(?=[^>]{0,400}\b(?:must|should|ignore|please|always|never|do not|say|tell|instruct|recommend|reply|respond|output|summari[sz])\b)[^>]{0,60}",
        words="ai llm llms assistant assistants model models chatbot claude chatgpt gpt",
        marks=("<!--",),
    ),
    _rule(
        _HIDDEN,
        r"style=[^>]{0,120}(?:display:\s?none|visibility:\s?hidden|font-size:\s?0|opacity:\s?0|color:\s?(?:white|#fff(?:fff)?\b|transparent))[^>]{0,120}>[^<]{0,300}\b(?:ais?|llms?|assistants?|language models?|instructions?|prompt|claude|gpt|ignore|disregard)\b",
        words="style",
        also="display visibility font opacity color",
    ),
    _rule(
        "leaks data through a link",
        r"!\[[^\]\n]{0,80}\]\(https?://[^)\s]{1,200}[?&/][^)\s]{0,80}=?(?:\{\{?[^)\s]{1,60}\}|\[[^)\n]{1,60}\]|<[^)\n]{1,60}>|\$\{?[a-z])",
        words="http https",
        marks=("](http",),
    ),
    _rule(
        _TAKE_BACK,
        r"\b(?:ignorier|missacht|vergiss|vergesst|vergessen)\w{0,4}~4~(?:alle|vorherig|bisherig|vorangegangen|obig|vorig|frühere|deine|ihre)\w{0,2}~3~(?:anweisung|instruktion|vorgabe)\w{0,3}",
        words="anweisung anweisungen instruktionen vorgaben",
    ),
    _rule(
        _TAKE_BACK,
        r"\b(?:ignor|oubli|néglig|neglig)\w{0,5}~4~(?:instructions|consignes|directives)\b(?:~(?:précéd|preced|ci|antéri|initial)\w{0,10})?",
        words="ignore ignorez ignorer oublie oubliez oublier néglige négligez negligez",
        also="consignes instructions directives",
    ),
    _rule(
        _TAKE_BACK,
        r"\b(?:ignor|olvid|omit|desestim|esqueç|esquec|desconsider|dimentic|trascur)\w{0,5}~4~(?:instrucciones|indicaciones|instruções|instrucoes|istruzioni|indicazioni)\b",
        r"\b(?:negeer|vergeet)~4~(?:instructies|aanwijzingen|opdrachten)\b",
        r"\b(?:zi|i)gnoruj~4~(?:instrukcj|polece)\w{0,5}",
        words="instrucciones indicaciones instruções instrucoes istruzioni indicazioni instructies aanwijzingen opdrachten instrukcje polecenia",
    ),
    _rule(
        _TAKE_BACK,
        r"\b(?:talimatlar|komutlar)\w{0,6}~3~(?:yok~say|unut|görmezden|dikkate~alma|boşver)",
        words="talimatları talimatlari talimatlarını komutları",
    ),
    _rule(
        _TAKE_BACK,
        r"(?:игнорир|забуд|отбрось)\w{0,6}~4~(?:инструкц|указани|команд|правил|предписани)\w{0,4}",
        marks=(
            "игнорир",
            "забуд",
            "отбрось",
        ),
    ),
    _rule(
        _TAKE_BACK,
        r"(?:忽略|无视|無視|忽視|忘记|忘掉)[^。\n]{0,6}(?:之前|以上|先前|前面|所有|上述|上面|一切)[^。\n]{0,8}(?:指令|指示|提示|说明|說明|规则|規則|要求|内容|內容)",
        r"(?:以前|これまで|上記|前|すべて|全て|以上)[^。\n]{0,10}(?:指示|命令|プロンプト|ルール|規則)[^。\n]{0,6}(?:無視|忘れ)",
        marks=(
            "忽略",
            "无视",
            "無視",
            "忽視",
            "忘记",
            "忘掉",
            "忘れ",
        ),
    ),
    _rule(
        _TAKE_BACK,
        r"(?:이전|위의|앞의|앞선|모든|지금까지)[^.\n]{0,12}(?:지시|명령|지침|프롬프트)[^.\n]{0,8}(?:무시|잊)",
        marks=(
            "무시",
            "잊",
        ),
    ),
    _rule(
        _TAKE_BACK,
        r"(?:تجاهل|انس)[^.\n]{0,20}(?:التعليمات|الأوامر|التوجيهات)",
        marks=(
            "تجاهل",
            "انس",
        ),
    ),
    _rule(_TAKE_BACK, r"निर्देश[^।\n]{0,20}(?:अनदेखा|नज़रअंदाज़|नजरअंदाज|भूल|उपेक्षा)", marks=("निर्देश",)),
)
