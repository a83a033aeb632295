"""The cases: every edge that is known, and more from a generator that always gives the same.

A case: {name, env (TESTCHARM_*), bags (our databags before), steps: [{dispatch, env (JUJU_*), model}], python (true: what Python
makes of it depends on its version)}.
"""

import json
import random

STORE = "parca-store-endpoint"
EXTERNAL = "external-parca-store-endpoint"
PLAIN_HOOKS = [
    "install", "start", "stop", "remove", "config-changed", "leader-elected", "update-status", "upgrade-charm",
    "post-series-upgrade", "no-such-hook", "parca-pebble-ready",
]
CHANGES = ["created", "joined", "changed", "departed", "broken"]
FQDN = "parca-k8s-0.parca-k8s-endpoints.model.svc.cluster.local"

URLS = [
    # As it should be.
    "https://parca.example.com", "http://parca.example.com:8443/model-parca", "https://h/", "https://h?x=1", "https://h#x",
    "grpc://h:7070", "grpcs+x.y-z://h",
    # D1: not bracketed.
    "https://[fd00::2]:99/x", "https://[FD00:0:0::2]", "http://[::1]",
    # D2: no host.
    "foo.bar", "foo.bar:443", "/path", "https://", "https:///x", "https://:443", "https://u@", "h2", "1http://h", "http:h",
    " ", "\t", "https:/h", "://h", "-a://h", "a_b://h",
    # D3: what becomes of a host.
    "https://Parca.Example.COM", "https://user:word@h/x", "https://a@b@h", "//h2", "//H2:1/x", "https://h.", "https://a b",
    "http://[fe80::1%25eth0]", "http://[fe80::1%25ETH0]:1", "http://[FE80::A%Zone]", "http://Host%Zone", "  https://h",
    "\t\nhttps://h", "\x01https://h", "ht\ntps://h\tx\r", "https://h ", "https://h:notaport", "https://h:99999", "https://h\\x",
    "https://h;x", "https://*.h", "https://münchen.example", "https://MÜNCHEN", "https://ΟΔΟΣ", "https://İ", "https://例え",
    "https://xn--mnchen-3ya.example", "http://[v1.x]", "http://[vF.a:b]:1",
    # D3: refused.
    "http://[bad", "http://bad]", "http://[bad]", "http://[1.2.3.4]", "http://[]", "http://a]b[c", "http://[v.x]", "http://[v1.]",
    "http://[vg.x]", "http://a\u2100b", "http://a\uff1ab", "http://a\uff20b", "http://a\uff0fb", "http://[::1]]", "http://[::1%]",
    # Normalized, yet not refused.
    "http://\uff21b", "http://a\u2460b",
    # The rest of what may be written into an option.
    "a" * 300, "https://" + "a" * 300, "javascript:alert(1)", "mailto:a@b", "file:///etc/passwd", "https://h/\u2100", "//", "///x",
    "https://10.1.2.3:80", "https://010.1.2.3", "https://1", "?https://h", "#https://h", "https://?x", "https://#x",
]
PYTHON_URLS = {"http://[::1]]", "http://[v1.x]", "http://[vF.a:b]:1", "http://[v.x]", "http://[v1.]", "http://[vg.x]"}

ADDRESSES = [
    "127.0.0.1", "0.0.0.0", "255.255.255.255", "FD00:0:0::1", "fd00::1", "::1", "::", "1:0:0:2:0:0:0:3", "1:0:2:3:4:5:6:7",
    "1:0:0:2:0:0:3:4", "fe80::1%eth0", "fe80::1%", "fe80::1%a%b", "::1.2.3.4", "2001:DB8:0:0:0:0:0:1",
    "parca", "10.1.2", "010.1.2.3", "10.1.2.3 ", "10.1.2.256", "10.1.2.3/32", "1::2:3:4:5:6:7:8", "[fd00::1]", "None", "", "١.٢.٣.٤",
]
MAPPED = ["::ffff:1.2.3.4", "::FFFF:0:0", "::FFFF:10.0.0.1", "::ffff:a00:1"]
CIDRS = [
    "10.1.0.0/16", "10.1.2.3/16", "10.1.2.3/32", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255", "10.0.0.0/255.0.255.0",
    "10.0.0.0/08", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0.0/+8", "0.0.0.0/0", "fd00::/8", "fd00::1/64", "fd00::/129", "parca", "::/0", "",
]


def network(addresses, egress=("10.152.183.7/32",), ingress=("10.152.183.7",)):
    """An answer of network-get; addresses is a list of interfaces, each a list of entries."""
    interfaces = [{"interface-name": "eth0", "addresses": entries} for entries in addresses]
    return {"bind-addresses": interfaces, "egress-subnets": list(egress), "ingress-addresses": list(ingress)}


POD = {"value": "10.1.2.3", "cidr": ""}
NETWORKS = {
    "nothing": {},
    "no interfaces": {"bind-addresses": []},
    "no egress": {"bind-addresses": [{"interface-name": "", "addresses": [POD]}]},
    "interfaces null": {"bind-addresses": None},
    "egress null": {"bind-addresses": [], "egress-subnets": None},
    "ingress null": {"bind-addresses": [], "ingress-addresses": None},
    "no addresses": {"bind-addresses": [{"interface-name": "eth0"}]},
    "addresses null": network([None]),
    "addresses empty": network([[]]),
    "first interface empty": network([[], [POD]]),
    "first address empty": network([[{"value": "", "cidr": ""}, POD]]),
    "value null": network([[{"value": None, "cidr": ""}]]),
    "value null with address": network([[{"value": None, "address": "10.1.2.4"}]]),
    "no value": network([[{"cidr": "10.1.0.0/16"}]]),
    "old address": network([[{"address": "10.1.2.4", "cidr": "10.1.0.0/16"}]]),
    "both value and address": network([[{"address": "10.1.2.4", "value": "10.1.2.5"}]]),
    "two addresses": network([[POD, {"value": "10.1.2.4", "cidr": ""}]]),
    "two interfaces": network([[{"value": "fd00::5", "cidr": "fd00::/64"}], [POD]]),
    "hostname": network([[{"value": "parca.local", "cidr": ""}]]),
    "hostname with cidr": network([[{"value": "parca.local", "cidr": "10.1.0.0/16"}]]),
    "second is bad": network([[POD, {"value": "parca.local", "cidr": ""}]]),
    "second cidr is bad": network([[POD], [{"value": "10.1.2.4", "cidr": "10.1.2.4/8"}]]),
    "bad egress": network([[POD]], egress=["10.152.183.7/8"]),
    "second egress is bad": network([[POD]], egress=["10.152.183.7/32", "nonsense"]),
    "egress is a name": network([[POD]], egress=["parca.local"]),
    "egress is IPv6": network([[POD]], egress=["fd00::/64", "::/0"]),
    "ingress is a name": network([[POD]], ingress=["parca.local", ""]),
    "cidr null": network([[{"value": "10.1.2.3", "cidr": None}]]),
    "interface is a text": {"bind-addresses": ["eth0"]},
    "address is a text": network([["10.1.2.3"]]),
    "a list": [],
    "null": None,
    "refused": {"refuse": 'no network config found for binding "parca-store-endpoint"'},
    "boom": {"refuse": "boom"},
}

GARBAGE = [
    {},
    {"remote-store-address": "h:7070", "remote-store-insecure": "true"},
    {"remote-store-address": "h:7070", "remote-store-bearer-token": "s3cret", "remote-store-insecure": "false"},
    {"remote-store-address": "", "remote-store-bearer-token": "", "remote-store-insecure": ""},
    {"remote-store-address": "https://h/\n--insecure", "remote-store-bearer-token": "a b\u0000", "remote-store-insecure": "no"},
    {"remote-store-address": "None:443", "egress-subnets": "10.0.0.1/32"},
    {"Remote-Store-Address": "h:1", "remote_store_address": "h:2"},
    {"remote-store-address": "ü\U0001f600\u2028\"\\\t", "remote-store-insecure": "TRUE"},
    {"remote-store-bearer-token": "x" * 200},
    {"remote-store-insecure": "{\"a\": null}", "remote-store-address": "[fd00::1]:7070"},
]


def relation(number, endpoint=STORE, app="agent", units=1, **more):
    given = {key: value for key, value in more.items() if value != {}}
    return {"endpoint": endpoint, "id": number, "app": app, "units": [f"{app}/{n}" for n in range(units)], **given}


def event(change, of, unit=0, departing=None):
    """Dispatch path and variables of a relation's hook."""
    variables = {
        "JUJU_RELATION": of["endpoint"],
        "JUJU_RELATION_ID": f"{of['endpoint']}:{of['id']}",
        "JUJU_REMOTE_APP": of["app"],
        "JUJU_REMOTE_UNIT": "" if unit is None or change in ("created", "broken") else f"{of['app']}/{unit}",
    }
    if change == "departed":
        variables["JUJU_DEPARTING_UNIT"] = departing or variables["JUJU_REMOTE_UNIT"]
    return {"dispatch": f"hooks/{of['endpoint']}-relation-{change}", "env": variables}


def step(at, *relations, **model):
    """A step: an event or the name of a hook, with the model that it meets."""
    model = {key: value for key, value in model.items() if (key, value) != ("leader", True)}
    at = {"dispatch": at if "/" in at else f"hooks/{at}"} if isinstance(at, str) else at
    return {**at, "model": {"relations": list(relations), **model}}


def case(name, *steps, bags=None, token=None, fqdn=FQDN, python=False, **arguments):
    env = {"TESTCHARM_FQDN": fqdn}
    if arguments:
        env["TESTCHARM_ARGS"] = json.dumps(arguments)
    if token is not None:
        env["TESTCHARM_TOKEN"] = token
    made = {"name": name, "env": env, "steps": list(steps)}
    if bags:
        made["bags"] = bags
    if python:
        made["python"] = True
    return made


def provider_edges():
    of = relation(7)
    joined = event("joined", of)
    for change in CHANGES:
        yield case(f"P1 {change}", step(event(change, of), of), token="s3cret")
    for hook in PLAIN_HOOKS:
        yield case(f"P1 {hook}", step(hook, of), token="s3cret")
    yield case("P1 action", step("actions/upgrade-charm", of))
    yield case("P1 another endpoint", step(event("changed", relation(9, "other-endpoint")), of, relation(9, "other-endpoint")))
    yield case("P1 an endpoint that the metadata lack", step(event("changed", relation(9, "no-such-endpoint")), of))
    three = [relation(9), relation(7), relation(8, app="other", units=0)]
    yield case("P2 all relations", step(event("joined", three[0]), *three), token="t%n")
    yield case("P2 all relations at upgrade", step("upgrade-charm", *three), token="t%n")
    yield case("P2 none", step("upgrade-charm"))
    yield case("P2 one of another endpoint", step("upgrade-charm", of, relation(8, "second-store-endpoint")))
    yield case("P2 another name", step("upgrade-charm", of, relation(8, "second-store-endpoint")), relation_name="second-store-endpoint")
    for url in [None, "", "https://parca.example.com"]:
        for name, answer in NETWORKS.items():
            yield case(f"P3-P5 {url!r} {name}", step(joined, of, network=answer), external_url=url, port=443)
    yield case("P3 verbatim", step(joined, of, network={"refuse": "boom"}), external_url="h:1", address_mode="verbatim")
    other = relation(8, network={"refuse": "boom"})
    yield case("P3 second relation", step(joined, of, other), token="t%n")
    yield case("P4 networks of their own", step(joined, of, relation(8, network=network([[{"value": "fd00::8"}]])), relation(9, network={})))
    for url in URLS:
        yield case(f"P4 D2 D3 {url!r}"[:90], step(joined, of), external_url=url, port=443, python=url in PYTHON_URLS)
    for url in ["parca.example.com:443", "https://h/x", "", " ", "[fd00::1]:7070", "münchen:1", "a\nb"]:
        yield case(f"verbatim {url!r}", step(joined, of), external_url=url, address_mode="verbatim", port=1)
    for address in ADDRESSES + MAPPED:
        for cidr in ["", "10.0.0.0/8"]:
            answer = network([[{"value": address, "cidr": cidr}]])
            yield case(f"D4 D5 {address!r} {cidr!r}", step(joined, of, network=answer), python=address in MAPPED)
    for cidr in CIDRS:
        yield case(f"D4 cidr {cidr!r}", step(joined, of, network=network([[{"value": "10.1.2.3", "cidr": cidr}]])))
        yield case(f"D4 egress {cidr!r}", step(joined, of, network=network([[POD]], egress=[cidr])))
    for port in [0, 1, 443, 65535]:
        yield case(f"P6 port {port}", step(joined, of), port=port, external_url="http://h:80/x")
    for insecure in [True, False]:
        yield case(f"P7 {insecure}", step(joined, of), insecure=insecure)
    for token in ["", "s3cret", "a b", "ü\"\n", "t%n", "%n%n", "x" * 1000]:
        bags = {"7": {"app": {"remote-store-bearer-token": "old", "kept": "1"}, "unit": {"ingress-address": "10.1.2.3"}}}
        yield case(f"P8 P11 {token[:9]!r}", step(joined, of, relation(8)), step("upgrade-charm", relation(8), of), bags=bags, token=token)
    for change in CHANGES:
        yield case(f"P9 follower {change}", step(event(change, of), of, leader=False), bags={"7": {"app": {"a": "b"}, "unit": {}}})
    yield case("P9 follower at upgrade", step("upgrade-charm", of, leader=False))
    yield case("P9 follower without relations", step("upgrade-charm", leader=False))
    yield case("P9 follower becomes leader", step(joined, of, leader=False), step("leader-elected", of), step("upgrade-charm", of))
    yield case("P10 kept when it fails", step(joined, of), step(event("changed", of), of, network={"refuse": "boom"}), port=1)
    yield case("D6 nothing at a new leader", step(joined, of), step("leader-elected", of, network=network([[{"value": "10.9.9.9"}]])))
    for gone in ["not-found", "denied"]:
        yield case(f"gone {gone}", step(joined, relation(7, gone=gone)))
        yield case(f"gone and not listed {gone}", step(joined, relation(7, gone=gone, listed=False), relation(8)))
    for tool in ["relation-ids", "relation-list", "relation-get", "relation-set", "network-get"]:
        for change in CHANGES:
            yield case(f"{tool} refused at {change}", step(event(change, of), of, refuse={tool: "boom"}))
        yield case(f"{tool} refused at upgrade-charm", step("upgrade-charm", of, refuse={tool: "boom"}))
        yield case(f"{tool} refused at update-status", step("update-status", of, refuse={tool: "boom"}))
    yield case("no units", step("upgrade-charm", relation(7, units=0)))
    yield case("a unit name in a data change", step(event("changed", of, unit=None), of))
    yield case("bare relation number", step({**joined, "env": {**joined["env"], "JUJU_RELATION_ID": "7"}}, of))


def requirer_edges():
    bag = GARBAGE[2]
    of = relation(7, EXTERNAL, "store", bag=bag)
    for change in CHANGES:
        for leader in [True, False]:
            yield case(f"R1 R6 {change} leader {leader}", step(event(change, of), of, leader=leader))
    for hook in PLAIN_HOOKS:
        yield case(f"R1 {hook}", step(hook, of))
    for number, bag in enumerate(GARBAGE):
        garbage = relation(7, EXTERNAL, "store", bag=bag)
        for unit in [0, None]:
            yield case(f"R2 R9 bag {number} unit {unit}", step(event("changed", garbage, unit), garbage))
    yield case("R2 from a unit without data", step(event("changed", of), relation(7, EXTERNAL, "store", bag={}, units_bag={"a": "b"})))
    left = {**of, "units": ["store/0"]}
    yield case("R3 two to one", step(event("departed", of, 1), left))
    yield case("R3 the last", step(event("departed", of), {**of, "units": []}))
    own = [step(event("departed", of, n, "parca-k8s/0"), {**of, "units": [f"store/{m}" for m in range(n + 1, 3)]}) for n in range(3)]
    yield case("R3 our own unit", *own, step(event("broken", of), {**of, "units": []}))
    yield case("R4 the whole life", *[step(event(change, of), of) for change in CHANGES])
    second = relation(8, EXTERNAL, "second", bag=GARBAGE[1])
    for change in CHANGES:
        yield case(f"R5 two relations {change}", step(event(change, of), of, second))
    for gone in ["not-found", "denied"]:
        for listed in [True, False]:
            dead = relation(7, EXTERNAL, "store", gone=gone, listed=listed)
            for change in CHANGES:
                yield case(f"R8 {gone} listed {listed} {change}", step(event(change, dead), dead))
            yield case(f"R8 {gone} listed {listed} beside another", step(event("changed", second), dead, second))
    yield case("R8 not listed", step(event("changed", of), {**of, "listed": False}))
    yield case("requirer: no units", step(event("changed", of), {**of, "units": []}))
    for tool in ["relation-ids", "relation-list", "relation-get", "network-get", "relation-set"]:
        for change in CHANGES:
            yield case(f"requirer: {tool} refused at {change}", step(event(change, of), of, refuse={tool: "boom"}))
    yield case("many units", *[step(event("joined", of, n), {**of, "units": [f"store/{m}" for m in range(n + 1)]}) for n in range(3)])
    both = relation(3, STORE, "agent")
    yield case("both sides", step(event("changed", of), of, both), step(event("changed", both), of, both), token="t%n")
    yield case("both sides, follower", step(event("changed", of), of, both, leader=False), step(event("changed", both), of, both, leader=False))


def generated(number):
    """Some hooks of a unit's life, with relations that come and go."""
    chance = random.Random(f"parca-store {number}")
    arguments = {
        "port": chance.choice([7070, 443, chance.randrange(65536)]),
        "insecure": chance.random() < 0.5,
        "external_url": chance.choice([None, None, None, "", chance.choice(URLS), chance.choice(URLS)]),
    }
    if chance.random() < 0.15:
        arguments["address_mode"] = "verbatim"
    token = chance.choice([None, "", "s3cret", "t%n", "%n ü"])
    leader = chance.random() < 0.8
    relations, steps, bags, numbers = [], [], {}, iter(range(chance.randrange(3), 99, 1 + chance.randrange(3)))
    answers = [{}, network([[]])] + [network([[{"value": address, "cidr": ""}]]) for address in ["10.1.2.3", "10.9.8.7", "fd00::1"]]
    python = arguments["external_url"] in PYTHON_URLS
    for _ in range(chance.randrange(3, 7)):
        at = chance.random()
        model = {"leader": leader}
        if chance.random() < 0.8:
            model["network"] = chance.choice(answers if chance.random() < 0.9 else list(NETWORKS.values()))
        if at < 0.25 or not relations:
            endpoint = chance.choice([STORE, STORE, EXTERNAL, EXTERNAL, "other-endpoint"])
            app = chance.choice(["agent", "store", "a-b-c"])
            new = relation(next(numbers), endpoint, app, units=chance.randrange(4), bag=chance.choice(GARBAGE))
            relations.append(new)
            if chance.random() < 0.4:
                bags[str(new["id"])] = {"app": {"remote-store-address": "old:1", "kept": "yes"}, "unit": {"ingress-address": "10.0.0.9"}}
            steps.append(step(event("created", new), *relations, **model))
        elif at < 0.45:
            steps.append(step(chance.choice(PLAIN_HOOKS + ["upgrade-charm"] * 4), *relations, **model))
            leader = leader or steps[-1]["dispatch"] == "hooks/leader-elected"
        elif at < 0.5:
            steps.append(step(f"actions/{chance.choice(['create-token', 'upgrade-charm'])}", *relations, **model))
        else:
            of = chance.choice(relations)
            change = chance.choice(["joined", "changed", "changed", "changed", "departed", "broken"])
            unit = chance.choice([None, 0, 1, 2]) if change == "changed" else chance.randrange(3)
            departing = "parca-k8s/0" if chance.random() < 0.3 else None
            seen = [{**other, "units": [name for name in other["units"] if change != "departed" or name != f"{of['app']}/{unit}"]}
                    if other is of else other for other in relations]
            if chance.random() < 0.05:
                seen = [{**other, "gone": "not-found"} if other is of else other for other in seen]
                seen = [{**other, "gone": "not-found"} if other["id"] == of["id"] else other for other in seen]
            chance.shuffle(seen)
            steps.append(step(event(change, of, unit, departing), *seen, **model))
            if change == "broken":
                relations.remove(of)
    return case(f"generated {number}", *steps, bags=bags, token=token, fqdn=chance.choice([FQDN, "host"]), python=python, **arguments)


def all_cases():
    made = [*provider_edges(), *requirer_edges(), *(generated(number) for number in range(320))]
    names = [one["name"] for one in made]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    return made
