"""Certificates for servers and clients of the tests' own."""
from pathlib import Path
from typing import Any, Dict, NamedTuple
from urllib.parse import urlencode

#: The name of every server of the tests.
HOST = '127.0.0.1'


class Certificate(NamedTuple):
    """Where a certificate, its key, and the authority to trust are."""

    cert: Path
    key: Path
    authority: Path

    @property
    def server_arguments(self) -> 'tuple[str, ...]':
        """Of a redis-server that asks its clients for a certificate."""
        return ('--tls-cert-file', str(self.cert),
                '--tls-key-file', str(self.key),
                '--tls-ca-cert-file', str(self.authority),
                '--tls-auth-clients', 'yes')

    @property
    def client_options(self) -> Dict[str, Any]:
        """Of redis-py."""
        return {'ssl_certfile': str(self.cert),
                'ssl_keyfile': str(self.key),
                'ssl_ca_certs': str(self.authority)}

    @property
    def query(self) -> str:
        """The same in a URL."""
        return urlencode(self.client_options)


class Authority:
    """Who issues certificates. It needs trustme.

    :param directory: where they are put.
    """

    def __init__(self, directory: Path) -> None:
        import trustme

        self._authority = trustme.CA()
        self._directory = directory
        self._file = directory / 'authority.pem'
        self._authority.cert_pem.write_to_path(self._file)

    def issue(self, name: str) -> Certificate:
        """A new certificate of :data:`HOST`.

        :param name: of the files.
        """
        certificate = self._authority.issue_cert(HOST)
        cert, key = (self._directory / f'{name}.{kind}.pem'
                     for kind in ('cert', 'key'))
        certificate.private_key_pem.write_to_path(key)
        for index, each in enumerate(certificate.cert_chain_pems):
            each.write_to_path(cert, append=index > 0)
        return Certificate(cert, key, self._file)
