"""Read the report of a verification."""


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Return output → (result, first difference)."""
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if " | " in line]
    found = [[*each, ""][:3] for each in cells if each[0].startswith(("data", "models", "reports"))]
    return {output: (result.strip(" |"), detail) for output, result, detail in found}
