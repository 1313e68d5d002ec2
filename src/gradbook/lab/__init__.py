"""The lab: a page in the browser that shows every run of a folder, live.

`gradbook lab` starts it. The server reads what trainings write and trains nothing itself:
`catalogue.py` knows which runs there are, `feed.py` says what is new, `app.py` answers requests,
`guard.py` refuses those that are not the user's own, `server.py` opens the port, and `worker.py`
starts the processes in which the page's own trainings and looks at models run. `page/` is the page:
plain JavaScript modules, without a build step.
"""
