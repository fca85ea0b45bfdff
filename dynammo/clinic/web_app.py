"""The page to drop images on, as a WSGI application: `GET /` is the page, `POST /classify` classifies.

`POST /table` and `POST /report` make files of what `POST /classify` answered; `GET /progress` tells how far it
is, by the word that both have as `?progress=`. `GET /sample` is a made-up image to try, drawn when it is asked for.

`POST /classify` takes multipart/form-data with one or more files (images, all slices of a series, zips), such as

    curl -F files=@image.png -F files=@volume.nii http://127.0.0.1:8765/classify

and answers with JSON:

    notice          `dynammo.NOTICE`
    model           name, sha256, classes
    rule            how several slices become one prediction
    thresholds      unknown, false_alarm_rate, low_confidence, looks_different; null where not fitted
    ignored_files   number of files that are no images
    ignored_names   names of the first hundred of them
    items           a list; of each: path, files, slices, format, modality, study_uid, series_uid, instance_uid, class,
                    probability and probabilities (0 to 1), unknown (0 to 1), ood_score, flags, level, reason,
                    picture and heat (data: URLs of a JPEG and of a grey PNG that covers the same area, or null), viewer
                    (slices and values, see `dynammo.inference.slices.viewer_of`, or null), viewer_left_out (whether
                    there is none because those of all would be too large)

or, with status 400 to 500, with `notice` and `error`, one sentence. Nothing is kept: files lie in a temporary folder
until the answer is made, and neither their names nor anything in them is logged.
"""

import base64
import ipaddress
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Request, Response, jsonify, request
from markupsafe import Markup
from werkzeug.exceptions import Forbidden, HTTPException, MisdirectedRequest, RequestEntityTooLarge

from dynammo import NOTICE, __version__
from dynammo.clinic.downloads import report_of, sample_image, table_of
from dynammo.clinic.languages import PageTexts, choose_language
from dynammo.clinic.levels import FLAGS, LEVELS, level_of
from dynammo.clinic.report import page_asset, page_environment, policy_source
from dynammo.clinic.uploads import MEGABYTE, UploadLimits, find_uploaded, names_left_out, without_folder
from dynammo.errors import UserError
from dynammo.inference.classifier import Result, StudyClassifier
from dynammo.inference.slices import make_viewers
from dynammo.runs.load import Model
from dynammo.runtime.plain import plain
from dynammo.runtime.unfinished import work_folder

__all__ = ["UPLOADS", "make_app", "too_large"]

UPLOADS = "dynammo-serve."  # begins the names of folders of uploads
# Nothing else of a result leaves: what a later version might add to it stays inside until it is listed here.
TEXTS = ("path", "files", "slices", "format", "modality", "study_uid", "series_uid", "instance_uid", "class", "flags")
NUMBERS = ("probability", "unknown", "ood_score", "strangeness")
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
SENTENCES = {
    403: "the request came from another page than this one; open the page itself and drop the images there.",
    404: "there is no such page; open / in a browser.",
    405: "send files as multipart/form-data with POST /classify, or open / in a browser.",
    421: "this server goes by another name; open the address that dynammo serve printed.",
}


def make_app(
    classifier: StudyClassifier,
    model: Model,
    limits: UploadLimits | None = None,
    names: Collection[str] = (),
    folder: Path | None = None,
    language: str = "",
) -> Flask:
    """Make the application; it asks nothing of any other machine and sets no cookie.

    Args:
        classifier: of `model`; used by one request at a time.
        model: what the page names.
        limits: of a request.
        names: host names, lower case, that the server goes by in a network, where it is also answered under any
            address in numbers; empty for this machine alone, where only localhost and loopback addresses are.
        folder: where uploads lie while they are classified; None for the system's folder of temporary files.
        language: code of the one that the page is shown in; "" for that of the browser.
    """
    limits = limits or UploadLimits()
    app = Flask("dynammo", static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=limits.megabytes * MEGABYTE, MAX_FORM_PARTS=limits.files + 1)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # classes in the order of the model
    page, policy = _page(classifier, model, limits, language)
    turn = threading.Lock()

    @app.before_request
    def check() -> None:
        if not _is_ours(request.headers.get("Host", ""), names):
            raise MisdirectedRequest
        if request.method == "POST" and not _same_origin(request):
            raise Forbidden

    @app.get("/")
    def show() -> Response:
        return Response(page, mimetype="text/html", headers={"Content-Security-Policy": policy})

    progress: dict[str, tuple[int, int]] = {}  # of what is being classified, by a word that its page made up

    @app.post("/classify")
    def classify() -> Response:
        word = request.args.get("progress", "")[:100]
        with turn:
            try:
                found = _classify(classifier, limits, folder, lambda *now: progress.update({word: now}))
            finally:
                progress.pop(word, None)
            return jsonify(found | _about(classifier, model))

    @app.get("/progress")
    def tell_progress() -> Response:
        done, total = progress.get(request.args.get("progress", ""), (0, 0))
        return jsonify(done=done, total=total)

    _add_downloads(app, classifier, model, folder)

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", CLOSED)
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(Exception)  # none is logged: its message may name a file
    def explain(error: Exception) -> tuple[Response, int]:
        status, sentence = _explanation(error, limits)
        return jsonify(notice=NOTICE, error=sentence), status

    return app


def _add_downloads(app: Flask, classifier: StudyClassifier, model: Model, folder: Path | None) -> None:
    """Give back what the page shows as files; the page sends it, since the server keeps nothing."""

    @app.get("/sample")
    def sample() -> Response:
        return Response(sample_image(), mimetype="image/png")

    @app.post("/table")
    def table() -> Response:
        return Response(table_of(request.get_json(), classifier.classes), mimetype="text/csv")

    @app.post("/report")
    def report() -> Response:
        with work_folder(UPLOADS, folder) as inside:
            spoken = choose_language(request.args.get("language"))
            return Response(report_of(request.get_json(), model, _about(classifier, model), inside, spoken))


def too_large(limits: UploadLimits) -> str:
    """The sentence for a request over the limits."""
    return (
        f"the upload is too large: this page takes at most {limits.megabytes} MB and {limits.files} files at once; "
        "type dynammo classify for more."
    )


def _is_ours(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names this machine; a site whose name was led here (DNS rebinding) does not.

    In a network, addresses in numbers pass: no site can lead one elsewhere, and behind a router or in a container a
    machine does not know under which it is called.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name in names or ipaddress.ip_address(name).is_loopback or bool(names)
    except ValueError:  # no address, but a name
        return False


def _same_origin(asked: Request) -> bool:
    """Browsers say which page sends a POST; programs such as curl do not, and no site can make them send one."""
    origin, site = asked.headers.get("Origin"), asked.headers.get("Sec-Fetch-Site")
    return origin in (None, f"http://{asked.headers.get('Host', '')}") and site in (None, "none", "same-origin")


def _classify(
    classifier: StudyClassifier, limits: UploadLimits, inside: Path | None, tell: Callable[[int, int], object]
) -> dict[str, Any]:
    with work_folder(UPLOADS, inside) as folder:
        uploads = [upload for _, upload in request.files.items(multi=True) if upload.filename]
        studies, ignored = find_uploaded(uploads, folder, limits)
        left_out = names_left_out(studies, folder)
        items: list[dict[str, Any]] = []
        for result in classifier.classify(studies):
            items.append(_item(result, folder))
            tell(len(items), len(studies))
        viewers = make_viewers(studies, items, classifier, lambda _: False)
        for item in items:
            item["viewer"] = viewers.shown.get(item["path"])
            item["viewer_left_out"] = item["path"] in viewers.left_out
    return {"ignored_files": ignored, "ignored_names": left_out, "items": items}


def _item(result: Result, folder: Path) -> dict[str, Any]:
    item = result.item
    jpeg, heat = result.picture or (None, None)
    return {
        **{name: item[name] for name in TEXTS},
        "level": level_of(item["flags"]),
        **{name: plain(item[name]) for name in (*NUMBERS, "probabilities")},
        "reason": without_folder(item["reason"] or "", folder),
        "picture": _data_url("image/jpeg", jpeg),
        "heat": _data_url("image/png", heat),
    }


def _data_url(kind: str, data: bytes | None) -> str | None:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}" if data else None


def _about(classifier: StudyClassifier, model: Model) -> dict[str, Any]:
    return {
        "notice": NOTICE,
        "version": __version__,
        "model": {"name": model.name, "sha256": model.sha256, "classes": classifier.classes},
        "rule": classifier.rule,
        "thresholds": classifier.thresholds,
    }


def _explanation(error: Exception, limits: UploadLimits) -> tuple[int, str]:
    if isinstance(error, UserError):
        return 400, str(error)
    if isinstance(error, RequestEntityTooLarge):
        return 413, too_large(limits)
    if isinstance(error, HTTPException):
        status = error.code or 500
        return status, SENTENCES.get(status, "the request cannot be read; send files as multipart/form-data.")
    if isinstance(error, OSError):
        return 500, "the temporary folder of this machine is full or cannot be written; make room and try again."
    return 500, f"these images could not be classified ({type(error).__name__}); try them one by one."


def _page(classifier: StudyClassifier, model: Model, limits: UploadLimits, language: str) -> tuple[str, str]:
    """The page, and the content security policy that lets it use its own style and script and nothing else."""
    style = "".join(map(page_asset, ("report.css", "card.css", "viewer.css", "serve.css")))
    script = "".join(map(page_asset, ("words.js", "card.js", "zoom.js", "slices.js", "serve.js")))
    about: Mapping[str, Any] = _about(classifier, model)
    page = (
        page_environment()
        .get_template("serve.html.j2")
        .render(
            about=about,
            words=PageTexts(language),
            flags=FLAGS,
            about_classes=model.record.get("about_classes", {}),
            levels=tuple(LEVELS),
            limits=limits,
            too_large=too_large(limits),
            style=Markup(style),
            script=Markup(script),
        )
    )
    own = f"style-src {policy_source(style)}; script-src {policy_source(script)}"
    policy = f"{CLOSED}; {own}; img-src data:; connect-src 'self'"
    return page, policy
