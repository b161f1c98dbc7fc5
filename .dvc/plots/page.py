"""Write the page that `dvc plots show` fills, with Vega inside, so that it opens offline.

DVC's own page loads its scripts from a network address. This one is made at installation, from
the copy of Vega that vl-convert carries, and named in `.dvc/config`.
"""

from pathlib import Path

import vl_convert

# DVC fills in {refresh_tag} and {plot_divs} by plain replacement. The script is no module: the
# plots' own scripts below it need `vegaEmbed` at once.
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
    """Write `page.html` beside this file."""
    script = vl_convert.javascript_bundle(SNIPPET).replace("</script", "<\\/script")
    page = PAGE % script
    Path(__file__).with_suffix(".html").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
