"""Notifications reach a real HTTP server and a real SMTP server on loopback, and never stop a sensor."""

import json
import smtplib
import socketserver
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestration.notification import notify
from orchestration.settings import Mail, Notify


class Smtp(socketserver.StreamRequestHandler):
    """Just enough of RFC 5321 to take one message; of RFC 3207 and 4954 too where the server has a certificate."""

    def handle(self):
        tls = getattr(self.server, "tls", None)
        if tls and self.server.is_implicit:
            self.encrypt(tls)
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline():
            verb = line.split()[0].upper() if line.split() else b""
            if tls and verb == b"EHLO":
                self.wfile.write(b"250-test\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n")
            elif verb == b"STARTTLS":
                self.wfile.write(b"220 go on\r\n")
                self.encrypt(tls)
                continue
            elif verb == b"AUTH":
                self.server.logins.append(isinstance(self.request, ssl.SSLSocket))
                self.wfile.write(b"235 ok\r\n")
                continue
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

    def encrypt(self, tls):
        self.request = tls.wrap_socket(self.request, server_side=True)
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", buffering=0)


class SmtpServer(socketserver.ThreadingTCPServer):
    def handle_error(self, *_):
        """A client that hangs up because of the certificate is what a test asks for."""


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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A file with a certificate for 127.0.0.1 that its owner has signed, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(signed.public_bytes(encoding) + private)
    return path


@pytest.fixture(params=["STARTTLS", "implicit TLS"])
def encrypted(request, certificate, monkeypatch):
    """A mail server that takes a login over TLS."""
    server = serve(SmtpServer(("127.0.0.1", 0), Smtp))
    server.is_implicit = request.param == "implicit TLS"
    if server.is_implicit:
        monkeypatch.setattr(smtplib, "SMTP_SSL_PORT", server.server_address[1])
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(certificate)
    server.logins = []
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


def with_login(server):
    mail = targets(smtp=server).mail
    return Notify(mail=Mail(**{**mail.model_dump(), "user": "cem", "password": "hunter2"}))


def test_a_mail_server_with_a_trusted_certificate_takes_a_login_over_tls(encrypted, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    assert notify(with_login(encrypted), "run failed", "step x: why") == ["mail"]
    assert encrypted.logins == [True]
    assert "step x: why" in encrypted.messages[0]


def test_a_mail_server_that_nobody_vouches_for_learns_neither_password_nor_message(encrypted, caplog):
    assert notify(with_login(encrypted), "run failed", "step x: why") == []
    assert encrypted.logins == encrypted.messages == []
    assert "SSLCertVerificationError" in caplog.text
