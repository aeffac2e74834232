"""Certificates for the servers and clients of the tests."""
from pathlib import Path
from typing import Any, Dict, NamedTuple
from urllib.parse import urlencode

#: The host name of every test server.
HOST = '127.0.0.1'


class Certificate(NamedTuple):
    """The files of a certificate, its key, and the authority to trust."""

    cert: Path
    key: Path
    authority: Path

    @property
    def server_arguments(self) -> 'tuple[str, ...]':
        """The arguments of a redis-server that requires client
        certificates."""
        return ('--tls-cert-file', str(self.cert),
                '--tls-key-file', str(self.key),
                '--tls-ca-cert-file', str(self.authority),
                '--tls-auth-clients', 'yes')

    @property
    def client_options(self) -> Dict[str, Any]:
        """The options of redis-py."""
        return {'ssl_certfile': str(self.cert),
                'ssl_keyfile': str(self.key),
                'ssl_ca_certs': str(self.authority)}

    @property
    def query(self) -> str:
        """The options as the query of a URL."""
        return urlencode(self.client_options)


class Authority:
    """A certificate authority. It needs the package trustme.

    :param directory: the directory for the files.
    """

    def __init__(self, directory: Path) -> None:
        import trustme

        self._authority = trustme.CA()
        self._directory = directory
        self._file = directory / 'authority.pem'
        self._authority.cert_pem.write_to_path(self._file)

    def issue(self, name: str) -> Certificate:
        """Issue a certificate for :data:`HOST`.

        :param name: the prefix of the files' names.
        """
        certificate = self._authority.issue_cert(HOST)
        cert, key = (self._directory / f'{name}.{kind}.pem'
                     for kind in ('cert', 'key'))
        certificate.private_key_pem.write_to_path(key)
        for index, each in enumerate(certificate.cert_chain_pems):
            each.write_to_path(cert, append=index > 0)
        return Certificate(cert, key, self._file)
