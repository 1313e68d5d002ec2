"""The process that makes a report for the page."""

from gradbook.cli.report import rebuilding
from gradbook.errors import GradbookError, text_of
from gradbook.lab.worker import Channel
from gradbook.reports.writing import page_of, subjects_of


def main(channel: Channel) -> None:
    """Makes the report that the server asks for, and sends it."""
    asked = next(channel.messages())
    try:
        subjects = subjects_of(asked["folders"])
        rebuild = rebuilding(asked["classes"], asked["classes"])
        html = page_of(subjects, asked["title"], asked["author"], rebuild)
    except GradbookError as error:
        channel.send({"error": text_of(error)})
    else:
        channel.send({"html": html})
