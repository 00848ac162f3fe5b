"""Objects as YAML text, as Go's sigs.k8s.io/yaml writes it, for `-o yaml` and `Accept: application/yaml`."""

from __future__ import annotations

import functools
import re
from typing import Any

_LOOKS_LIKE_A_NUMBER = re.compile(
    r"(?=\D*\d)[-+]?(?:[0-9][0-9_]*)?\.?[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?0[xob][0-9a-fA-F_]+"
)
_OTHER_LINE_BREAKS = re.compile("[\r\x85\u2028\u2029]")


def to_yaml(value: Any) -> str:
    """Sorted keys, lists not indented, several lines as a literal block, no anchors."""
    import yaml

    text: str = yaml.dump(value, Dumper=_dumper(), sort_keys=True, allow_unicode=True, width=2**31 - 1)
    return text


@functools.cache
def _dumper() -> Any:
    import yaml

    # The same output from C, several times faster; not every build of PyYAML has it.
    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True  # what is shared in memory is still written out twice

    def represent_text(dumper: Any, text: str) -> Any:
        style: str | None
        if "\n" in text:
            style = "|" if _survives_in_a_block(text) else '"'
        else:
            # In double quotes what would read as something else; the emitter has single ones for indicators.
            style = None if _is_plain(dumper, text) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def _is_plain(dumper: Any, text: str) -> bool:
        # PyYAML knows more words of YAML 1.1 than Go's library writes plainly, and fewer numbers than that one reads.
        if text.lower() in ("y", "n", "yes", "no", "on", "off") or _LOOKS_LIKE_A_NUMBER.fullmatch(text):
            return False
        return bool(dumper.resolve(yaml.ScalarNode, text, (True, False)) == "tag:yaml.org,2002:str")

    Dumper.add_representer(str, represent_text)
    return Dumper


def _survives_in_a_block(text: str) -> bool:
    """Whether a literal block keeps these lines to the letter."""
    if text.startswith((" ", "\n")) or text.endswith(" ") or " \n" in text:
        return False
    return _OTHER_LINE_BREAKS.search(text) is None
