"""The web app that gunicorn serves in its case."""

STATUSES = {"/missing": "404 Not Found", "/broken": "500 Internal Server Error"}


def application(environ, start_response):
    start_response(STATUSES.get(environ["PATH_INFO"], "200 OK"), [("Content-Type", "text/plain")])
    return [b"hello\n"]
