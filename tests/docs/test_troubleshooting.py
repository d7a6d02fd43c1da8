from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"


def messages() -> list[str]:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return [re.match(r"\| `([^`]*)`", row)[1] for row in rows]  # type: ignore[index]


def test_every_message_of_the_page_is_one_the_code_can_say():
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    flat = re.sub(r"\"\s*\n\s*f?\"", "", code)  # strings that are broken over lines
    patterns = {message: re.escape(message).replace("export", r"(?:export|\{extra\})") for message in messages()}
    assert len(patterns) > 10
    missing = [message for message, pattern in patterns.items() if not re.search(pattern, flat)]
    assert not missing
