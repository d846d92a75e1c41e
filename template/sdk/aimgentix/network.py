"""How to reach a host: by which proxy, and trusting whom."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

    from urllib3 import PoolManager


def connections(address: str) -> PoolManager:
    """Return what opens connections to the host of `address`, as the environment says.

    HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name a proxy; REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE whom to trust (a
    file or a folder), else it is what the machine trusts, as SSL_CERT_FILE may say.

    Raises:
        ImportError: `urllib3` is not installed.
        ValueError: the proxy is not usable.
    """
    import os
    from urllib.parse import unquote, urlsplit
    from urllib.request import getproxies, proxy_bypass

    import urllib3

    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    trust: Dict[str, Any] = {("ca_cert_dir" if os.path.isdir(bundle) else "ca_certs"): bundle} if bundle else {}
    parts = urlsplit(address)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return urllib3.PoolManager(**trust)
    if "://" not in proxy:
        proxy = "http://" + proxy
    login = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=unquote(login)) if login else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **trust)
