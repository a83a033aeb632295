"""The counterpart of examples/testcharm.rs: the Python library under the real ops framework, told the same by the same variables."""

import json
import os
import socket

import ops
import parca_store

DEFAULTS = {
    "port": 7070,
    "insecure": False,
    "external_url": None,
    "relation_name": "parca-store-endpoint",
    "seed_compat": True,
    "address_mode": "url-host",
}
KEYS = ["remote-store-address", "remote-store-bearer-token", "remote-store-insecure"]


class VerbatimProvider(parca_store.ParcaStoreEndpointProvider):
    """What the library does since its second patch: an external URL is the address as it is."""

    def _set_relation_data(self, event):
        if not self._external_url:
            return super()._set_relation_data(event)
        for relation in self._charm.model.relations[self._relation_name]:
            # Asked for even if it is not needed, as before.
            _ = self._charm.model.get_binding(relation).network.bind_address
            values = [self._external_url, self._token_generator(), str(self._insecure).lower()]
            for key, value in zip(KEYS, values):
                relation.data[self._app][key] = value


class Testcharm(ops.CharmBase):
    def __init__(self, framework):
        super().__init__(framework)
        arguments = {**DEFAULTS, **json.loads(os.environ.get("TESTCHARM_ARGS") or "{}")}
        if fqdn := os.environ.get("TESTCHARM_FQDN"):
            socket.getfqdn = lambda: fqdn
        self._calls = 0
        verbatim = arguments["address_mode"] == "verbatim"
        provider = VerbatimProvider if verbatim else parca_store.ParcaStoreEndpointProvider
        self.provider = provider(
            self,
            port=arguments["port"],
            insecure=arguments["insecure"],
            external_url=arguments["external_url"],
            token_generator=self._token,
            relation_name=arguments["relation_name"],
        )
        self.requirer = parca_store.ParcaStoreEndpointRequirer(self, relation_name="external-parca-store-endpoint")
        framework.observe(self.requirer.on.endpoints_changed, self._on_endpoints_changed)
        framework.observe(self.requirer.on.remove_store, self._on_remove_store)

    def _token(self):
        self._calls += 1
        return os.environ.get("TESTCHARM_TOKEN", "").replace("%n", str(self._calls))

    def _on_endpoints_changed(self, event):
        self._append("StoreEndpointsChanged", event.relation_id, event.store_config)

    def _on_remove_store(self, event):
        self._append("RemoveStore", event.relation_id, None)

    def _append(self, name, relation_id, store_config):
        try:
            config = self.requirer.config
        except Exception:
            config = None
        line = {"event": name, "relation_id": relation_id, "store_config": store_config, "config": config}
        with open(os.environ["TESTCHARM_EVENTS"], "a", encoding="utf-8") as events:
            events.write(json.dumps(line) + "\n")
