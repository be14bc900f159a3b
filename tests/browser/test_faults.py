"""What goes wrong around the page loses nothing, and is told kindly."""

from __future__ import annotations

import io
import json
import re
import uuid
from contextlib import suppress
from typing import Any

import pytest
from PIL import Image, ImageOps
from playwright.sync_api import BrowserContext, Request, Route, expect
from playwright.sync_api import TimeoutError as NotInTime

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import JobFailed
from stylequeue.contract.objects import ImageRef
from stylequeue.gateway import keys
from tests.browser.conftest import LASTING, SAMPLES, Visitor
from tests.support import pictures
from tests.support.proxy import Proxy


def file(name: str, body: bytes, mime_type: str = "image/jpeg") -> dict[str, Any]:
    return {"name": name, "mimeType": mime_type, "buffer": body}


def forgiven(visitor: Visitor, *texts: str) -> None:
    """Of requests that fail browsers tell in the console, whoever deals with it."""
    visitor.forgiven.extend(texts)


def test_a_reload_loses_nothing_in_any_phase(visitor: Visitor) -> None:
    page = visitor.open().page
    visitor.prepare(style="facets", method=LASTING)
    page.wait_for_timeout(400)  # what is typed is kept a moment later
    page.reload()
    expect(page.get_by_role("img", name="Photograph: chelsea")).to_be_visible()
    expect(page.get_by_role("button", name="facets")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label(LASTING)).to_be_visible()  # though it lies under "More"
    expect(page.get_by_label(LASTING)).to_be_checked()
    visitor.paint()
    visitor.expect("Step ")
    page.reload()
    visitor.expect("Step ")
    expect(page.locator("loss-chart canvas")).to_be_visible()  # also of what was before
    page.get_by_role("button", name="Finish now, keep it").click()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    expect(page.get_by_role("slider", name="How much is shown of Before and of After")).to_be_visible()


def test_offline_it_waits_and_goes_on_by_itself(visitor: Visitor, context: BrowserContext) -> None:
    page = visitor.open().page
    visitor.prepare(method="Sketch")
    context.set_offline(True)
    visitor.expect("You are offline.")
    page.get_by_role("button", name="Paint", exact=True).click()
    visitor.expect("Waiting for the connection")
    context.set_offline(False)
    page.wait_for_url("**/#job=*")
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    expect(page.get_by_text("You are offline.")).to_have_count(0)
    forgiven(visitor, "ERR_INTERNET_DISCONNECTED", "ERR_NETWORK")


def test_an_hour_offline(visitor: Visitor, context: BrowserContext, client: StyleQueue) -> None:
    page = visitor.page
    page.clock.install()
    visitor.open()
    visitor.prepare(method=LASTING)
    job_id = visitor.paint()
    visitor.expect("Step ")
    page.get_by_role("link", name="New painting", exact=True).click()
    page.get_by_label("Sketch").check()
    context.set_offline(True)
    visitor.expect("You are offline.")
    client.cancel(job_id, keep=True)
    page.clock.fast_forward("01:00:00")
    visitor.expect("You are offline.")
    context.set_offline(False)
    # By itself: what was painted, and what was prepared.
    card = page.locator(f".gallery [data-job='{job_id}']")
    expect(card).to_contain_text("Stopped early")
    expect(page.get_by_text("You are offline.")).to_have_count(0)
    expect(page.get_by_role("img", name="Photograph: chelsea")).to_be_visible()
    expect(page.get_by_label("Sketch")).to_be_checked()
    visitor.paint()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    forgiven(visitor, "ERR_INTERNET_DISCONNECTED", "ERR_NETWORK")


def test_a_picture_that_is_gone_is_not_waited_for(visitor: Visitor, client: StyleQueue) -> None:
    page = visitor.open().page
    visitor.prepare(method="Sketch")
    page.get_by_role("slider", name="Strength").fill("0.35")  # nobody else has it
    job_id = visitor.paint()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    data = client.wait(job_id)
    assert data.thumbnail_file
    card = page.locator(f".gallery [data-job='{job_id}']")
    for file in (data.thumbnail_file, data.output):
        client._store._client.delete_object(Bucket=file.bucket, Key=file.key)
        page.evaluate("indexedDB.deleteDatabase('stylequeue')")
        page.reload()
        if file is data.thumbnail_file:
            expect(card.locator("img")).to_be_visible()
            assert card.get_by_text("No longer there").count() == 0
    visitor.expect("This picture is no longer there.")
    assert page.get_by_text("Fetching it").count() == 0
    expect(card).to_contain_text("No longer there")
    expect(page.get_by_role("button", name="Change and paint again")).to_be_visible()
    # One whose job was deleted elsewhere is not there any more.
    client.delete(job_id)
    page.reload()
    visitor.expect("This picture is not, or no longer, known here.")
    expect(card).to_have_count(0)
    forgiven(visitor, "404")


def test_redis_away(visitor: Visitor, redis_between: Proxy) -> None:
    page = visitor.open().page
    visitor.prepare(method="Sketch")
    redis_between.refuse()
    redis_between.reset()
    try:
        page.get_by_role("button", name="Paint", exact=True).click()
        visitor.expect("The painting service is not all there just now.")
        expect(page.get_by_role("img", name="Photograph: chelsea")).to_be_visible()
    finally:
        redis_between.heal()
    page.wait_for_url("**/#job=*")
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    forgiven(visitor, "503")


def test_a_key_that_is_revoked(visitor: Visitor) -> None:
    gate = visitor.gate
    text = gate.key("submit")
    page = visitor.open(text).page
    visitor.prepare()
    keys.revoke(gate.keys_file, text.split("_")[1])
    with suppress(NotInTime):  # the page may find out by itself, and the button go
        page.get_by_role("button", name="Paint", exact=True).click(timeout=2000)
    visitor.expect("The key is not, or no longer, in force.")
    page.get_by_label("Key").fill(gate.admin)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("img", name="Photograph: chelsea")).to_be_visible()
    assert page.get_by_role("button", name="waves").get_attribute("aria-pressed") == "true"
    forgiven(visitor, "401")


def test_what_a_key_may_do_is_asked_until_it_is_known(visitor: Visitor) -> None:
    page = visitor.page
    page.route("**/v1/key", lambda route: route.fulfill(status=500, json={"code": "internal_error"}), times=2)
    visitor.open()
    # For who looks after the service; no more is known to be away.
    expect(page.locator(".fleet")).to_contain_text(re.compile("1 painter (ready|at work)"))
    forgiven(visitor, "500")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
TOLD = {
    "notes.jpg": (b"Dear diary,\nno picture today.\n", "“notes.jpg” is no picture but text"),
    "IMG_1.jpg": (HEIC, "“IMG_1.jpg” is a HEIC photograph"),
    "half.jpg": (pictures.jpeg()[:30], "“half.jpg” is damaged"),
    "empty.png": (b"", "“empty.png” is empty"),
    "dot.png": (pictures.saved(Image.new("RGB", (8, 8)), "PNG"), "too small to paint from"),
}


def test_what_is_no_photograph_is_told_from_those_that_are(visitor: Visitor) -> None:
    page = visitor.open().page
    for name, (body, says) in TOLD.items():
        visitor.add(file(name, body))
        expect(page.get_by_role("alert")).to_contain_text(says)
        assert page.locator(".easel img").count() == 0
    visitor.add(file("notes.jpg", TOLD["notes.jpg"][0]), file("good.jpg", pictures.jpeg()))
    expect(page.get_by_role("img", name="Photograph: good")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("notes.jpg")


def test_a_photograph_of_80_megapixels_is_sent_smaller(visitor: Visitor) -> None:
    page = visitor.open().page
    huge = pictures.saved(Image.new("L", (10_000, 8_000), 128), "JPEG", quality=30)
    visitor.add(file("huge.jpg", huge))
    expect(page.get_by_role("img", name="Photograph: huge")).to_be_visible()
    expect(page.locator("figcaption")).to_contain_text(re.compile("4096 . 3277"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_is_sent_says_nothing_of_place_and_camera_and_stands_upright(
    visitor: Visitor, client: StyleQueue, kind: str
) -> None:
    page = visitor.open().page
    body = turned(kind)
    assert b"GPS" in body or b"Nikon" in body
    visitor.add(file(f"turned.{kind.lower()}", body, f"image/{kind.lower()}"))
    photo = page.get_by_role("img", name="Photograph: turned")
    expect(photo).to_be_visible()
    shown = (photo.get_attribute("width"), photo.get_attribute("height"))
    # Of WebP, Chromium does not heed which way is up: what is shown is what is sent.
    assert shown == (("64", "96") if kind == "WEBP" else ("96", "64"))
    page.get_by_role("button", name="waves").click()
    page.get_by_label("Sketch").check()
    job = client.status(visitor.paint()).job
    assert job is not None
    store = client._store
    sent = store._client.get_object(Bucket="uploads", Key=job["content"]["key"])["Body"].read()
    assert b"Nikon" not in sent
    with Image.open(io.BytesIO(sent)) as image:
        assert not image.getexif().get_ifd(0x8825)
        if kind == "JPEG":
            assert image.info["icc_profile"] == PROFILE
        assert ImageOps.exif_transpose(image).size == tuple(map(int, shown))
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    # Before and after lie one over the other.
    sides = [page.locator(f".pair img >> nth={n}").evaluate("i => i.naturalWidth > i.naturalHeight") for n in (0, 1)]
    assert sides[0] == sides[1]


PROFILE = b"a profile of colours, as it were"


def turned(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Nikon"
    exif.get_ifd(0x8825)[1] = "N"
    # Stored lying on its side: EXIF says how it stands.
    lying = pictures.quarters().transpose(Image.Transpose.ROTATE_90)
    return pictures.saved(lying, kind, exif=exif, **({"icc_profile": PROFILE} if kind == "JPEG" else {}))


def test_a_job_that_failed_is_tried_again(visitor: Visitor, client: StyleQueue) -> None:
    content = ImageRef(bucket="uploads", key=f"late/{uuid.uuid4()}.jpg")
    # Somebody's set, whose name would lead elsewhere if it were an address.
    labels = {"photo": "late", "style": "waves", "set": "a&key=b"}
    style = {"image": ImageRef(bucket="styles", key="shelf/waves.jpg")}
    recipe = {"method": "fast", "size": 64}
    job_id = client.submit({"content": content, "styles": [style], "recipe": recipe, "labels": labels})
    # Until a job has failed, the page asks for its photograph.
    with pytest.raises(JobFailed):
        client.wait(job_id)
    page = visitor.page
    page.goto(f"{visitor.url}/#key={visitor.gate.admin}&job={job_id}")
    visitor.expect("A picture is no longer where it was.")
    client._store._client.put_object(Bucket=content.bucket, Key=content.key, Body=pictures.jpeg())
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    page.get_by_role("link", name="See them side by side").click()
    page.wait_for_url("**/#set=a%26key%3Db")
    visitor.expect("All 1 are done.")
    page.goto(f"{visitor.url}/#set=nobody-knows")
    visitor.expect("None of them is known here.")


def test_a_connection_that_is_cut_in_the_middle_of_an_answer(
    visitor: Visitor, client: StyleQueue, context: BrowserContext
) -> None:
    page = visitor.open().page
    visitor.prepare(method="Sketch")
    page.evaluate(CUT, ["/v1/jobs/", 2])
    visitor.paint()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    assert page.evaluate("cuts") == 0


CUT = """([path, times]) => {
    window.cuts = times;
    const before = window.fetch;
    window.fetch = async (address, options) => {
        const answer = await before(address, options);
        if (!cuts || options.method !== 'GET' || !String(address).startsWith(path)) return answer;
        cuts -= 1;
        const body = new ReadableStream({ start: (there) => there.error(new TypeError('network error')) });
        return new Response(body, { status: answer.status, headers: answer.headers });
    };
}"""
"""Answers whose bodies break off, as where a network goes away."""


def test_a_picture_to_compare_that_cannot_be_had_is_asked_for_once(visitor: Visitor, client: StyleQueue) -> None:
    page = visitor.open().page
    visitor.prepare(method="Sketch")
    job_id = visitor.paint()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    page.evaluate(
        "made = []; gone = []; const [c, r] = [URL.createObjectURL, URL.revokeObjectURL];"
        "URL.createObjectURL = (blob) => { const url = c(blob); made.push(url); return url; };"
        "URL.revokeObjectURL = (url) => { gone.push(url); r(url); }"
    )
    page.route(
        f"**/v1/jobs/{job_id}/result*", lambda route: route.fulfill(status=404, json={"code": "object_not_found"})
    )
    page.goto(f"{visitor.url}/#compare={job_id},{job_id}")
    visitor.expect("A picture is no longer where it was.")
    page.evaluate(
        "import('/page/state.js').then(async ({ changed }) => {"
        "for (let n = 0; n < 20; n++) { changed(); await new Promise(requestAnimationFrame); } })"
    )
    asked = [request for request in visitor.requests if f"{job_id}/result" in request.url]
    assert len(asked) <= 3, [request.url for request in asked]  # of the job, of its thumbnail, to compare
    page.unroute_all()
    page.goto(f"{visitor.url}/#")
    page.goto(f"{visitor.url}/#compare={job_id},{job_id}")
    expect(page.get_by_role("slider")).to_be_visible()
    shown = page.locator(".pair img").first.get_attribute("src")
    page.goto(f"{visitor.url}/#")
    expect(page.get_by_role("slider", name="How much")).to_have_count(0)
    assert shown in page.evaluate("gone")
    forgiven(visitor, "404")


def test_a_key_that_is_left_takes_along_what_it_gave(visitor: Visitor) -> None:
    gate = visitor.gate
    page = visitor.open(gate.key("submit", "ann")).page
    visitor.prepare(method="Sketch")
    job_id = visitor.paint()
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    expect(page.locator(".gallery li")).to_have_count(1)
    page.get_by_role("link", name="New painting", exact=True).click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Key").fill(gate.key("submit", "bob"))
    assert page.get_by_text("The key is not, or no longer, in force.").count() == 0
    page.get_by_role("button", name="Go on").click()
    # The draft is this browser's, and so stays; what was sent lies with the other tenant.
    expect(page.get_by_role("img", name="Photograph: chelsea")).to_be_visible()
    expect(page.get_by_role("button", name="waves")).to_be_visible()
    expect(page.locator(f"[data-job='{job_id}']")).to_have_count(0)
    with page.expect_response(lambda answer: answer.request.method == "PUT" and "/v1/jobs/" in answer.url) as handing:
        visitor.paint()
    assert handing.value.ok, handing.value.text()
    assert len([request for request in visitor.requests if request.url.endswith("/v1/uploads")]) == 2
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    expect(page.locator(".gallery li")).to_have_count(1)
    # By the address alone another key is taken, too, without a reload.
    page.goto(f"{visitor.url}/#key={gate.key('read', 'cem')}")
    expect(page.locator(".gallery li")).to_have_count(0)


def test_a_refusal_of_a_key_before_does_not_drop_the_new_one(visitor: Visitor) -> None:
    page = visitor.open().page
    left = page.evaluate(
        """async (key) => {
            const { ask } = await import('/page/api.js');
            const { keepKey } = await import('/page/key.js');
            const { state } = await import('/page/state.js');
            keepKey('sq_0_0_0');
            const asked = ask('GET', '/v1/jobs').catch(({ code }) => code);
            keepKey(key);
            return [await asked, state.key === key, [...state.away]];
        }""",
        visitor.gate.admin,
    )
    assert left == ["key_left", True, []]
    expect(page.get_by_role("button", name="waves")).to_be_visible()


def test_what_is_changed_while_it_is_sent_is_for_another_time(visitor: Visitor, client: StyleQueue) -> None:
    page = visitor.open().page
    visitor.add(SAMPLES / "chelsea.jpg", SAMPLES / "coffee.jpg")
    expect(page.locator(".easel img")).to_have_count(2)
    page.get_by_role("button", name="waves").click()
    page.get_by_label("Sketch").check()

    def one_refused(route: Route) -> None:
        """As where there is room for one of two."""
        answer = route.fetch(post_data={"jobs": handed_in(route.request)[:1]})
        verdicts = [*answer.json()["jobs"], {"verdict": "refused", "problem": FULL}]
        route.fulfill(response=answer, json={"jobs": verdicts})

    def while_sent(route: Route) -> None:
        """Another photograph comes meanwhile."""
        visitor.add(SAMPLES / "swirls.jpg")
        expect(page.locator(".easel img")).to_have_count(3)
        route.continue_()

    page.route("**/v1/jobs:batch", one_refused)
    page.route("**/v1/uploads", while_sent, times=1)
    page.get_by_role("button", name="Paint 2 pictures").click()
    visitor.expect("So many wait that no more are taken now.")
    tried = [request for request in visitor.requests if request.url.endswith(":batch")]
    first = handed_in(tried[0])
    assert [job["labels"]["photo"] for job in first] == ["chelsea", "coffee"]
    expect(page.locator(f"[data-job='{first[0]['id']}']")).to_have_count(1)
    # Pressed again, the same are handed in, and none is there twice.
    page.unroute_all()
    page.get_by_role("button", name="Take swirls away").click()
    page.get_by_role("button", name="Paint 2 pictures").click()
    visitor.expect("All 2 are done.")
    again = handed_in([request for request in visitor.requests if request.url.endswith(":batch")][-1])
    assert [job["id"] for job in again] == [job["id"] for job in first]
    assert len([job for job in client.jobs() if job.labels.get("set") == first[0]["labels"]["set"]]) == 2


def handed_in(request: Request) -> list[dict[str, Any]]:
    """The jobs of a batch."""
    body: dict[str, list[dict[str, Any]]] = json.loads(request.post_data or "")
    return body["jobs"]


FULL = {"code": "queue_full", "detail": "no more", "hint": "wait", "status": 429}
