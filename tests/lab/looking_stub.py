"""A process that only pretends to look: it does what the question's "what" stands for."""

import os
import time

from gradbook.lab.worker import Channel


def main(channel: Channel) -> None:
    """Answers with what was asked, or dies, or takes long."""
    for message in channel.messages():
        what, options = message["what"], message["options"]
        if what == "graph":  # dies
            os._exit(9)
        if what == "sharpness":  # takes long
            time.sleep(600)
        if what == "cell":  # answers too much
            channel.send({"result": {"text": "x" * options["true"]}})
        elif what == "weights":
            channel.send({"error": "This cannot be shown.", "is_config": True})
        else:
            channel.send({"result": {"process": os.getpid(), "folder": message["folder"]}})
