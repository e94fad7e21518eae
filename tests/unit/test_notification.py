"""Notifications reach a real HTTP server and a real SMTP server on loopback, and never stop a sensor."""

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from orchestration.notification import notify
from orchestration.settings import Mail, Notify


class Smtp(socketserver.StreamRequestHandler):
    """Just enough of RFC 5321 to take one message."""

    def handle(self):
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline():
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (text := self.rfile.readline()) != b".\r\n":
                    lines.append(text.decode())
                self.server.messages.append("".join(lines))
            elif verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 ok\r\n")


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


def serve(server):
    server.messages = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def webhook():
    server = serve(HTTPServer(("127.0.0.1", 0), Webhook))
    server.status = 200
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def smtp():
    server = serve(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp))
    yield server
    server.shutdown()
    server.server_close()


def targets(webhook=None, smtp=None):
    return Notify(
        webhook=f"http://127.0.0.1:{webhook.server_port}/hook" if webhook else None,
        mail=Mail(host="127.0.0.1", port=smtp.server_address[1], sender="cem@example.com", to=("ops@example.com",))
        if smtp
        else None,
    )


def test_both_targets_get_the_message(webhook, smtp):
    assert notify(targets(webhook, smtp), "run failed", "step x: why") == ["webhook", "mail"]
    assert webhook.messages[0]["subject"] == "run failed"
    assert "step x: why" in webhook.messages[0]["text"]
    assert "Subject: run failed" in smtp.messages[0]
    assert "step x: why" in smtp.messages[0]


def test_a_target_that_refuses_does_not_stop_the_other(webhook, smtp, caplog):
    webhook.status = 500
    assert notify(targets(webhook, smtp), "run failed", "text") == ["mail"]
    assert str(webhook.server_port) not in caplog.text  # the address of a webhook is a secret


def test_no_target_is_no_error():
    assert notify(targets(), "run failed", "text") == []
