"""Starts the server: `python start.py --studies FOLDER`; other options are those of `monailabel start_server`."""

import argparse
import ipaddress
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

APP = Path(__file__).resolve().parent
LOCAL = ("127.0.0.1", "localhost", "[::1]")


def main(arguments: Sequence[str] | None = None) -> None:
    """Check the options, guard the server and start it; it runs until Ctrl-C."""
    options, others = _parser().parse_known_args(arguments)
    if not options.studies.is_dir():
        sys.exit(f"error: there is no folder {options.studies}; give the folder of your images: --studies FOLDER.")
    if not _is_loopback(options.host) and not options.allow_network:
        sys.exit(
            f"error: {options.host} can be reached by other machines, and MONAI Label asks nobody for a password: "
            "leave --host out, or type --allow-network if that is permitted where you work."
        )
    os.environ["DYNAMMO_LABEL_MEGABYTES"] = str(options.max_megabytes)
    os.environ["DYNAMMO_LABEL_HOSTS"] = json.dumps([] if options.allow_network else LOCAL)
    own = [f"http://{host}:{options.port}" for host in LOCAL]
    os.environ["DYNAMMO_LABEL_ORIGINS"] = json.dumps([*own, *options.allow_origin])
    os.environ["DYNAMMO_LABEL_VERBOSE"] = options.verbose
    sys.path.insert(0, str(APP))  # where uvicorn finds server.py
    _serve(options, others)


def _serve(options: argparse.Namespace, others: Sequence[str]) -> None:
    from lib import NOTICE
    from lib.torchvision_ops import import_torchvision

    import_torchvision()  # before Label does
    from monailabel.main import Main

    print(
        f"open http://{options.host}:{options.port} in a browser, or connect a viewer; Ctrl-C ends. {NOTICE}",
        flush=True,
    )
    sys.argv = [
        "monailabel", "start_server", "--app", str(APP), "--studies", str(options.studies), "--host", options.host,
        "--port", str(options.port), "--uvicorn_app", "server:app",
        "--verbose", options.verbose, "--log_level", options.verbose.lower(), *others,
    ]  # fmt: skip
    Main(logging.WARNING).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", "-s", type=Path, required=True, help="folder of images; labels go to it, too")
    parser.add_argument("--host", "-i", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", "-p", type=int, default=8000)
    parser.add_argument(
        "--verbose", "-v", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="WARNING",
        help="what is logged; up to INFO with names of files, which may be those of people",
    )  # fmt: skip
    parser.add_argument("--max-megabytes", type=int, default=200, help="largest upload")
    parser.add_argument(
        "--allow-origin", action="append", default=[], help="web page that may use the server, such as a viewer's"
    )
    parser.add_argument("--allow-network", action="store_true", help="listen where other machines can reach it")
    return parser


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main()
