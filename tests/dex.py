"""What a Kubeflow has before its API: oauth2-proxy, and Dex with two ways to log in and an approval."""

from collections.abc import Callable

from http_answers import Answer, Request

USER, PASSWORD, SESSION = "me@example.com", "right", "not-to-be-seen-5f1c"


class Dex:
    """Lets those with the latest session to what `api` answers; each login makes one."""

    def __init__(self, api: Callable[[Request], Answer]):
        self.api, self.sessions = api, 0

    def expire(self) -> None:
        self.sessions += 1

    def __call__(self, request: Request) -> Answer:
        path, page = request.path.partition("?")[0], {"content-type": "text/html"}
        if self.sessions and f"session={SESSION}-{self.sessions}" in request.headers.get("cookie", ""):
            return self.api(request) if path.startswith("/apis") else Answer(body="<html>")
        if path == "/oauth2/start":
            return Answer(302, "", {"location": "/dex/auth?client_id=kubeflow"})
        if path in ("/dex/auth", "/dex/auth/local/login", "/dex/approval") and request.method == "GET":
            return Answer(200, "<html>", page)
        if path == "/dex/auth/local":
            return Answer(302, "", {"location": "/dex/auth/local/login?state=1"})
        if path == "/dex/auth/local/login":
            right = request.body == f"login={USER.replace('@', '%40')}&password={PASSWORD}"
            return Answer(303, "", {"location": "/dex/approval?req=1"}) if right else Answer(200, "<html>wrong", page)
        if path == "/dex/approval" and request.body == "approval=approve":
            self.sessions += 1
            return Answer(303, "", {"location": "/", "set-cookie": f"session={SESSION}-{self.sessions}; Path=/"})
        return Answer(403, "<html>Sign in with OpenID Connect", page)
