"""What stands in a report, read as a browser does."""

import base64
from html.parser import HTMLParser

#: Elements that have no end.
_EMPTY = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """A report that was read.

    Attributes:
        elements: Each element as (tag, attributes), in order.
        headings: The texts of the headings.
        tables: The cells of each table, row by row, by its caption.
        pairs: The texts beside the names of each list of settings.
        text: All texts, without those of the style.
    """

    def __init__(self, html):
        super().__init__()
        self.elements, self.headings, self.tables, self.pairs = [], [], {}, {}
        self.text, self._open, self._name, self._caption = "", [], "", ""
        self.feed(html)
        assert self._open == []

    @property
    def images(self):
        """The content of each image, by what is said in its place."""
        found = {}
        for tag, attributes in self.elements:
            if tag == "img":
                kind, _, content = attributes["src"].partition(";base64,")
                assert kind in ("data:image/svg+xml", "data:image/png")
                found[attributes["alt"]] = base64.b64decode(content, validate=True)
        return found

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in _EMPTY:
            self._open.append(tag)
        if tag == "table":
            self._caption = dict(self.elements[-2][1])["aria-label"]
            self.tables.setdefault(self._caption, [])
        if tag == "tr":
            self.tables[self._caption].append([])
        if tag in ("td", "th"):
            self.tables[self._caption][-1].append("")
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        tag = self._open[-1] if self._open else ""
        if tag != "style":
            self.text += data
        if tag in ("td", "th"):
            self.tables[self._caption][-1][-1] += data
        if tag in ("h1", "h2", "h3"):
            self.headings[-1] += data
        if tag == "dt":
            self._name = data
        if tag == "dd":
            self.pairs.setdefault(self._name, []).append(data)


def assert_harmless(html):
    """A page without scripts, of which nothing leads anywhere but into itself."""
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in {"script", "iframe", "object", "embed", "link", "form", "svg", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            assert name != "style"
            if name in ("src", "href", "srcset", "action", "data", "background"):
                assert value.startswith(("data:image/", "#")), value
    assert "@import" not in html
    assert "url(" not in html
    assert page.elements[3][1]["content"].startswith("default-src 'none'; img-src data:;")
    return page
