"""Tell people that something needs them: by webhook, by mail, or both, as the settings say."""

from __future__ import annotations

import json
import logging
import smtplib
import ssl
import urllib.request
from email.message import EmailMessage
from http.client import HTTPException

from orchestration.settings import Mail, Notify

logger = logging.getLogger("cem.notification")

TIMEOUT_SECONDS = 10
"""A notification target that does not answer must not keep the sensor from the next one."""


def notify(targets: Notify, subject: str, text: str) -> list[str]:
    """Send a message to every target; a target that fails is logged and does not stop the others.

    Args:
        targets: The `notify` part of the settings.
        subject: One line.
        text: What happened and what to do; holds no personal data.

    Returns:
        The names of the targets that took it, `webhook` and `mail`.
    """
    sent = []
    if targets.webhook is not None:
        try:
            _post(targets.webhook.get_secret_value(), subject, text)
            sent.append("webhook")
        except (OSError, ValueError, HTTPException) as error:  # a wrong address is quoted in its error, and is a secret
            logger.error("webhook did not take the notification: %s", type(error).__name__)
    if targets.mail is not None:
        try:
            _send(targets.mail, subject, text)
            sent.append("mail")
        except (OSError, smtplib.SMTPException) as error:
            logger.error("mail server did not take the notification: %s", type(error).__name__)
    return sent


def _post(url: str, subject: str, text: str) -> None:
    body = json.dumps({"subject": subject, "text": f"{subject}\n{text}"}).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310
        pass


def _send(mail: Mail, subject: str, text: str) -> None:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = mail.sender
    message["To"] = ", ".join(mail.to)
    message.set_content(text)
    with _server(mail) as server:
        if mail.user and mail.password:
            server.login(mail.user, mail.password.get_secret_value())
        server.send_message(message)


def _server(mail: Mail) -> smtplib.SMTP:
    """A connection to the mail server, over TLS where that is due; its certificate must be one the system trusts."""
    context = ssl.create_default_context()
    if mail.port == smtplib.SMTP_SSL_PORT:  # where TLS begins before anything is said
        return smtplib.SMTP_SSL(mail.host, mail.port, timeout=TIMEOUT_SECONDS, context=context)
    server = smtplib.SMTP(mail.host, mail.port, timeout=TIMEOUT_SECONDS)
    if mail.user and mail.password:
        try:
            server.starttls(context=context)
        except Exception:
            server.close()  # not with QUIT, which waits for an answer
            raise
    return server
