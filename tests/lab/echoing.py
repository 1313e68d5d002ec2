"""What a worker of the tests runs: it does what it is told."""

import os
import subprocess
import sys
import time

from gradbook.lab import worker


def main(channel):
    for message in channel.messages():
        what = message["what"]
        if what == "echo":
            channel.send({"echo": message["value"]})
        elif what == "many":
            for number in range(message["num"]):
                channel.send({"number": number})
        elif what == "print":
            print("printed by a learner")
            channel.send({"read": sys.stdin.read()})
        elif what == "fail":
            raise ZeroDivisionError("by nothing")
        elif what == "hurry":
            worker._LAST_SECONDS = 0.1
        elif what == "sleep":
            channel.send({"sleeps": True})
            time.sleep(1000)
        elif what == "child":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
            channel.send({"child": child.pid})
        elif what == "fork":
            child = os.fork()
            if child == 0:  # it holds the pipe of the worker
                time.sleep(1000)
            channel.send({"child": child})
            os._exit(0)
        elif what == "threads":
            channel.send({"threads": os.environ.get("OMP_NUM_THREADS"), "group": os.getpgrp()})
        elif what == "torch":
            channel.send({"loaded": "torch" in sys.modules})
