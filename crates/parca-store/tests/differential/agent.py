"""A Juju agent that knows as much as the relation's two sides ask. examples/hooktool.rs is the same in Rust.

A model, as a step of a case has it (whatever is not given is as after the colon):

    leader: true
    relations: []     of {endpoint, id, app, units: [], bag: {} (of the remote application), units_bag: {} (of each remote unit),
                      listed: true (by relation-ids), gone: null (or how the controller words it: "not-found", "denied"),
                      network: as the model's}
    network: a pod's  what network-get answers, or {"refuse": message}
    refuse: {}        messages of tools that refuse everything

Our own databags are kept apart, by relation id: what a hook writes counts only if it ends with 0.
"""

import copy
import json
import subprocess

UNIT = "parca-k8s/0"
APP = "parca-k8s"
NETWORK = {
    "bind-addresses": [
        {
            "mac-address": "",
            "interface-name": "eth0",
            "addresses": [{"hostname": "", "value": "10.1.2.3", "cidr": ""}],
        }
    ],
    "egress-subnets": ["10.152.183.7/32"],
    "ingress-addresses": ["10.152.183.7"],
}


class Refused(Exception):
    """A tool ends with 1 and a message."""


class Agent:
    """Hook tools over one model, for one hook."""

    def __init__(self, model, bags):
        self.model = model
        self.bags = copy.deepcopy(bags)

    def run(self, command, **options):
        """Stands in for subprocess.run."""
        tool, *arguments = command
        try:
            out = self.answer(tool, list(arguments), options.get("input"))
        except Refused as refusal:
            raise subprocess.CalledProcessError(1, command, output="", stderr=f"ERROR {refusal}\n") from None
        return subprocess.CompletedProcess(command, 0, stdout=out, stderr="")

    def answer(self, tool, arguments, given):
        if message := self.model.get("refuse", {}).get(tool):
            raise Refused(message)
        app = "--app" in arguments
        reference = arguments[arguments.index("-r") + 1] if "-r" in arguments else None
        if tool in ("juju-log", "status-set", "application-version-set"):
            return ""
        if tool == "is-leader":
            return json.dumps(self.leads())
        if tool == "relation-ids":
            listed = [r for r in self.relations() if r["endpoint"] == arguments[0] and r.get("listed", True)]
            return json.dumps([f"{r['endpoint']}:{r['id']}" for r in listed])
        if tool == "relation-list":
            relation = self.find(reference)
            return json.dumps(relation.get("app") if app else relation.get("units", []))
        if tool == "relation-get":
            return json.dumps(self.bag(self.find(reference), arguments[-1], app))
        if tool == "relation-set":
            relation = self.find(reference)
            if app and not self.leads():
                raise Refused("cannot write relation settings")
            own = self.bags.setdefault(str(relation["id"]), {"app": {}, "unit": {}})["app" if app else "unit"]
            own.update(json.loads(given))
            for key in [key for key, value in own.items() if value == ""]:
                del own[key]
            return ""
        if tool == "network-get":
            network = self.model.get("network", NETWORK)
            if reference is not None:
                relation = self.find(reference, f"relation {reference.split(':')[-1]} not found")
                network = relation.get("network", network)
            if isinstance(network, dict) and "refuse" in network:
                raise Refused(network["refuse"])
            return json.dumps(network)
        raise Refused(f"unknown tool {tool}")

    def leads(self):
        return self.model.get("leader", True)

    def relations(self):
        return self.model.get("relations", [])

    def find(self, reference, words=None):
        number = int(reference.split(":")[-1])
        found = next((r for r in self.relations() if r["id"] == number), {"gone": "not-found"})
        if found.get("gone") == "denied":
            raise Refused("permission denied")
        if found.get("gone"):
            raise Refused(words or f'invalid value "{reference}" for option -r: relation not found')
        return found

    def bag(self, relation, name, app):
        own = self.bags.get(str(relation["id"]), {})
        if app and name == APP:
            if not self.leads():
                raise Refused("permission denied")
            return own.get("app", {})
        if app and name == relation.get("app"):
            return relation.get("bag", {})
        if not app and name == UNIT:
            return own.get("unit", {})
        if not app and name.split("/")[0] == relation.get("app"):
            return relation.get("units_bag", {})
        raise Refused("permission denied")
