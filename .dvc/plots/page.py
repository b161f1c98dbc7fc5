"""Write the HTML template of `dvc plots show` with Vega inside, so that plots open offline.

DVC's default template loads its scripts from the internet. `make install` writes this one from the
copy of Vega in vl-convert; `.dvc/config` selects it.
"""

from pathlib import Path

import vl_convert

# DVC replaces {refresh_tag} and {plot_divs}. The script is not a module, because the scripts of the
# plots below it need `vegaEmbed` immediately.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh_tag}
<title>Plots</title>
<style>body { font-family: system-ui, sans-serif; margin: 1rem; } img { max-width: 100%%; }</style>
<script>(() => {%s})();</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""

SNIPPET = "window.vegaEmbed = vegaEmbed;"


def main() -> None:
    """Write `page.html` next to this file."""
    script = vl_convert.javascript_bundle(SNIPPET).replace("</script", "<\\/script")
    page = PAGE % script
    Path(__file__).with_suffix(".html").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
