"""The server's page, on which a picture is dropped."""

import base64
import hashlib
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sidebyside.serving.answer import Classifier
from sidebyside.serving.picture import expected
from sidebyside.serving.request_body import MAXIMUM_SIZE

TEMPLATE = Path(__file__).with_suffix(".html.jinja")
INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
HEADERS = {
    "Cache-Control": "no-store",  # a server started later may have another model
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page(classifier: Classifier, address: str) -> str:
    """Return the page as one HTML file that loads nothing.

    Args:
        classifier: the model.
        address: the server's, as the browser knows it, with a slash at the end.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(TEMPLATE.name).render(
        address=address,
        dataset=classifier.dataset,
        expected=expected(classifier.dataset),
        maximum_size=MAXIMUM_SIZE,
        registered=classifier.registered,
    )


def headers(html: str) -> dict[str, str]:
    """Return the headers of a page: it runs only its own script, and calls only this server."""
    sources = {"script": "", "style": ""}
    for tag, content in INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        sources[tag] += f" 'sha256-{digest}'"
    policy = (
        f"default-src 'none'; script-src{sources['script']}; style-src{sources['style']};"
        " img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )
    return {**HEADERS, "Content-Security-Policy": policy}
