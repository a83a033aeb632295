"""Runs every case through the Python library under the real ops framework.

    record.py --check    compares the results with recorded.json; the last line is `N passed, N failed`
    record.py --write    writes recorded.json anew

Each hook runs in a process of its own, forked from this one. Hook tools are answered by agent.py within that process.
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "charm"), str(HERE.parent / "seed")]
sys.dont_write_bytecode = True

import ops  # noqa: E402

import agent  # noqa: E402
import cases  # noqa: E402
import charm  # noqa: E402

RECORDED = HERE / "recorded.json"
ENVIRONMENT = {
    "JUJU_UNIT_NAME": agent.UNIT,
    "JUJU_VERSION": "3.6.0",
    "JUJU_MODEL_NAME": "model",
    "JUJU_MODEL_UUID": "cdac5656-2423-4388-8f30-41854b4cca7d",
}


def run_hook(case, step, bags, folder):
    """Exit code, events and databags after one hook."""
    events, after = folder / "events", folder / "after"
    events.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os._exit(hook(case, step, bags, folder, events, after))
    _, status = os.waitpid(child, 0)
    code = 0 if os.waitstatus_to_exitcode(status) == 0 else 1
    lines = events.read_text(encoding="utf-8").splitlines() if events.exists() else []
    if code == 0:
        bags = json.loads(after.read_text(encoding="utf-8"))
    return code, [json.loads(line) for line in lines], bags


def hook(case, step, bags, folder, events, after):
    """In the child: the hook, and what it leaves."""
    name = step["dispatch"].removeprefix("hooks/")
    environment = {
        **ENVIRONMENT,
        "PATH": os.environ["PATH"],
        "JUJU_CHARM_DIR": str(folder),
        "JUJU_DISPATCH_PATH": step["dispatch"],
        "JUJU_HOOK_NAME": "" if step["dispatch"].startswith("actions/") else name,
        "TESTCHARM_EVENTS": str(events),
        **case.get("env", {}),
        **step.get("env", {}),
    }
    os.environ.clear()
    os.environ.update(environment)
    fake = agent.Agent(step.get("model", {}), bags)
    subprocess.run = fake.run
    try:
        ops.main(charm.Testcharm)
    except SystemExit as end:
        if end.code not in (None, 0):
            return 1
    except BaseException as error:
        if "--verbose" in sys.argv:
            print(f"{case['name']} {step['dispatch']}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    after.write_text(json.dumps(fake.bags), encoding="utf-8")
    return 0


def run_case(case):
    """What each step of a case ends with."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        shutil.copy(HERE / "charm" / "metadata.yaml", folder)
        bags = case.get("bags", {})
        ends = []
        for step in case["steps"]:
            code, events, bags = run_hook(case, step, bags, folder)
            kept = {number: {kind: bag for kind, bag in own.items() if bag} for number, own in bags.items()}
            end = {"exit": code, "events": events, "bags": {number: own for number, own in kept.items() if own}}
            ends.append({key: value for key, value in end.items() if key == "exit" or value})
        return ends


def by_number(results, networks):
    """The results with answers of network-get put into a list, and their numbers in their places: they are long and alike."""

    def number(of):
        if "network" not in of:
            return of
        if of["network"] not in networks:
            networks.append(of["network"])
        return {**of, "network": networks.index(of["network"])}

    def shortened(step):
        model = number(step["model"])
        return {**step, "model": {**model, "relations": [number(relation) for relation in model["relations"]]}}

    return [{**result, "steps": [shortened(step) for step in result["steps"]]} for result in results]


def lines(values):
    """JSON of a list, a value a line."""
    made = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values]
    return "[\n" + ",\n".join(made) + "\n]"


def write(results):
    versions = {"python": platform.python_version(), "ops": importlib.metadata.version("ops")}
    networks = []
    results = by_number(results, networks)
    text = f'{{{json.dumps(versions)[1:-1]}, "networks": {lines(networks)}, "cases": {lines(results)}}}\n'
    RECORDED.write_text(text, encoding="utf-8")


def check(results):
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    before = {case["name"]: case for case in recorded["cases"]}
    results = by_number(results, list(recorded["networks"]))
    passed = failed = left_out = 0
    for result in results:
        if before.pop(result["name"], None) == result:
            passed += 1
        elif result.get("python") and platform.python_version() != recorded["python"]:
            left_out += 1
        else:
            failed += 1
            print(f"FAIL {result['name']}: differs from the recording")
    for name in before:
        failed += 1
        print(f"FAIL {name}: is recorded, and no case any more")
    if left_out:
        print(f"{left_out} cases left out: Python {platform.python_version()} takes them otherwise than {recorded['python']}")
    print(f"{passed} passed, {failed} failed")
    return failed == 0 and passed > 0


def main():
    results = [{**case, "ends": run_case(case)} for case in cases.all_cases()]
    if "--write" in sys.argv:
        write(results)
        print(f"{len(results)} cases")
    elif "--check" in sys.argv:
        sys.exit(0 if check(results) else 1)
    else:
        sys.exit(__doc__)


main()
