"""Pictures out of videos against a full decode through ffmpeg's own filter `fps`."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from degradation.errors import ConfigError, DataError
from degradation.tasks import video
from degradation.tasks.video import VideoPictures, video_facts

BITS, WIDE, HIGH = 12, 96, 48
OPEN_GOP = "keyint=40:min-keyint=40:scenecut=0:open-gop=1:bframes=3:b-adapt=0"
CLOSED_GOP = "keyint=100:min-keyint=100:scenecut=0:open-gop=0:bframes=4:b-adapt=0"
INTRA = "keyint=1"


def numbered(number: int) -> Image.Image:
    """A picture that carries its number as black and white bars."""
    bars = np.array([255 * (number >> bit & 1) for bit in range(BITS)], dtype=np.uint8)
    row = np.repeat(bars, WIDE // BITS)
    return Image.fromarray(np.broadcast_to(row[None, :, None], (HIGH, WIDE, 3)).copy())


def number_of(image: Image.Image) -> int:
    grey = np.asarray(image.convert("L"), dtype=float)
    bars = grey.reshape(HIGH, BITS, WIDE // BITS).mean(axis=(0, 2)) > 127
    return int((bars << np.arange(BITS)).sum())


def write(
    path: Path,
    count: int = 240,
    *,
    x264: str = CLOSED_GOP,
    rate: int = 30,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
) -> Path:
    """A video whose frames carry their numbers; `times` are in thousandths of a second."""
    with av.open(str(path), "w") as container:
        options = {"x264-params": x264, "threads": "1"} if codec == "libx264" else {"bf": "2"}
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDE, HIGH, "yuv420p"
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            frame = av.VideoFrame.from_image(numbered(number))
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate) if times is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def unpacked(path: Path) -> list[int]:
    """The numbers of all pictures, as `ffmpeg -vf fps=30` unpacks them."""
    found: list[int] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        source, rate = graph.add_buffer(template=stream), graph.add("fps", "30")
        sink = graph.add("buffersink")
        source.link_to(rate)
        rate.link_to(sink)
        graph.configure()

        def pull() -> None:
            while True:
                try:
                    found.append(number_of(sink.pull().to_image()))
                except (av.error.BlockingIOError, av.error.EOFError):
                    return

        for frame in container.decode(stream):
            source.push(frame)
            pull()
        source.push(None)
        pull()
    return found


def irregular(count: int) -> list[int]:
    steps = np.random.default_rng(3).choice([4, 17, 33, 34, 40, 67, 150, 400], count)
    return (np.cumsum(steps) - steps[0]).tolist()


VIDEOS: dict[str, Callable[[Path], Path]] = {
    "long groups with B-frames": write,
    "open groups": lambda path: write(path, x264=OPEN_GOP),
    "every frame a key frame": lambda path: write(path, x264=INTRA),
    "mpeg4": lambda path: write(path, codec="mpeg4"),
    "25 a second": lambda path: write(path, rate=25),
    "60 a second": lambda path: write(path, rate=60, x264=OPEN_GOP),
    "variable rate": lambda path: write(path, 150, times=irregular(150), x264=OPEN_GOP),
    "one frame": lambda path: write(path, 1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, make in VIDEOS.items():
        make(folder / f"{name}.mp4")
    return folder


def orders(count: int) -> dict[str, list[int]]:
    rng = np.random.default_rng(0)
    windows = [n for start in range(1, count - 5, 13) for n in range(start, start + 7)]
    return {
        "ascending": list(range(1, count + 1)),
        "descending": list(range(count, 0, -5)),
        "at random": rng.integers(1, count + 1, 60).tolist(),
        "rows": windows,
        "overlapping rows": [
            n for start in range(1, count - 6, 2) for n in range(start, start + 7)
        ],
    }


QUICK = ("long groups with B-frames", "variable rate", "one frame")


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[] if one in QUICK else pytest.mark.slow) for one in VIDEOS],
)
def test_every_picture_is_that_of_a_full_unpacking(folder: Path, name: str) -> None:
    expected = unpacked(folder / f"{name}.mp4")
    length = None if name == "variable rate" else len(expected)
    assert video_facts(folder / f"{name}.mp4") == video.VideoFacts(WIDE, HIGH, length)
    for order, numbers in orders(len(expected)).items():
        pictures = VideoPictures(folder)
        found = [number_of(pictures(f"{name}.mp4", number)) for number in numbers]
        assert found == [expected[number - 1] for number in numbers], order


@pytest.mark.parametrize("name", ["long groups with B-frames", "open groups", "mpeg4"])
def test_at_thirty_a_second_picture_n_is_frame_n(folder: Path, name: str) -> None:
    assert unpacked(folder / f"{name}.mp4") == list(range(240))


@pytest.mark.parametrize("name", ["long groups with B-frames", "variable rate"])
def test_there_is_no_picture_before_the_first_or_after_the_last(folder: Path, name: str) -> None:
    pictures, last = VideoPictures(folder), len(unpacked(folder / f"{name}.mp4"))
    for number in (-1, 0, last + 1, last + 500):
        with pytest.raises(DataError, match=f"{name}.mp4#{number}"):
            pictures(f"{name}.mp4", number)
    assert number_of(pictures(f"{name}.mp4", last)) > 0  # and the video can still be read


def test_a_video_may_start_late(tmp_path: Path) -> None:
    write(tmp_path / "late.mp4", 60, times=[1000 + round(1000 * i / 30) for i in range(60)])
    pictures = VideoPictures(tmp_path)
    assert [number_of(pictures("late.mp4", n)) for n in (1, 2, 31, 60, 5)] == [0, 1, 30, 59, 4]


def test_threads_have_videos_of_their_own(folder: Path) -> None:
    pictures = VideoPictures(folder)
    names = ["open groups", "long groups with B-frames", "every frame a key frame"]
    asked = [(name, number) for number in range(1, 241, 3) for name in names]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: number_of(pictures(f"{one[0]}.mp4", one[1])), asked))
    assert found == [number - 1 for _, number in asked]


def decoded(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, numbers: list[int]) -> int:
    """How many frames are decoded to see these pictures."""
    calls = []
    advance = video._Reel._advance
    monkeypatch.setattr(video._Reel, "_advance", lambda self: (calls.append(1), advance(self)))
    pictures = VideoPictures(folder)
    for number in numbers:
        pictures(f"{name}.mp4", number)
    return len(calls)


@pytest.mark.parametrize("order", ["ascending", "rows", "overlapping rows"])
def test_reading_forward_decodes_no_frame_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    numbers = orders(240)[order]
    assert decoded(monkeypatch, folder, "long groups with B-frames", numbers) <= 241


def test_frames_between_rows_are_skipped_where_key_frames_allow(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = orders(240)["rows"]
    assert decoded(monkeypatch, folder, "every frame a key frame", rows) <= len(rows) * 8 / 7 + 1
    # From the first picture to one far on: one group of frames, not the whole video.
    assert decoded(monkeypatch, folder, "long groups with B-frames", [1, 220]) <= 1 + 21 + 2


def open_files(folder: Path) -> int:
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum(os.path.exists(link) and str(folder) in os.path.realpath(link) for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_few_videos_stay_open_and_none_after_the_thread(folder: Path) -> None:
    pictures = VideoPictures(folder)

    def work() -> int:
        for name in VIDEOS:
            pictures(f"{name}.mp4", 1)
        return open_files(folder)

    gc.disable()  # closing must not wait for it
    try:
        with ThreadPoolExecutor(1) as pool:
            assert 1 <= pool.submit(work).result() <= 2
        assert open_files(folder) == 0
    finally:
        gc.enable()


def test_the_process_ends_quietly_with_a_video_open(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from degradation.tasks.video import VideoPictures\n"
        "p = VideoPictures(Path(sys.argv[1])); p('open groups.mp4', 50); p('mpeg4.mp4', 5)"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ------------------------------------------------------------------ bad input


def test_without_pyav_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"sdiag\[video\].*ffmpeg"):
        VideoPictures(folder)("mpeg4.mp4", 1)
    with pytest.raises(ConfigError, match="not installed"):
        video_facts(folder / "mpeg4.mp4")


PLAYLIST = "#EXTM3U\n#EXTINF:1,\nhttp://localhost:9/secret.ts\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "contents", [b"", b"no video at all", PLAYLIST.encode(), bytes(range(256)) * 40]
)
def test_files_that_are_no_videos(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "x.mp4").write_bytes(contents)
    with pytest.raises(DataError, match=r"Expected a whole MP4 video.*x\.mp4#3\. Cut or download"):
        VideoPictures(tmp_path)("x.mp4", 3)
    with pytest.raises(DataError, match="Expected a whole MP4 video"):
        video_facts(tmp_path / "x.mp4")


def test_a_missing_video(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No such file.*gone\.mp4#1"):
        VideoPictures(tmp_path)("gone.mp4", 1)


def test_a_video_outside_the_root(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "link.mp4").symlink_to(folder / "mpeg4.mp4")
    for path in ("link.mp4", f"../{folder.name}/mpeg4.mp4"):
        with pytest.raises(DataError, match="inside the data root"):
            VideoPictures(tmp_path)(path, 1)


def test_a_video_that_is_cut_off(tmp_path: Path, folder: Path) -> None:
    whole = (folder / "every frame a key frame.mp4").read_bytes()
    (tmp_path / "head.mp4").write_bytes(whole[: len(whole) // 2])  # its index was at the end
    with pytest.raises(DataError, match="Expected a whole MP4 video"):
        video_facts(tmp_path / "head.mp4")
    with av.open(str(folder / "open groups.mp4")) as source:
        options = {"movflags": "faststart"}
        with av.open(str(tmp_path / "front.mp4"), "w", options=options) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    front = (tmp_path / "front.mp4").read_bytes()
    (tmp_path / "front.mp4").write_bytes(front[: len(front) * 3 // 4])
    assert video_facts(tmp_path / "front.mp4").pictures == 240  # as the head still says
    pictures = VideoPictures(tmp_path)
    assert number_of(pictures("front.mp4", 60)) == 59
    with pytest.raises(DataError, match=r"front\.mp4#239"):
        pictures("front.mp4", 239)


def test_damage_is_refused_wherever_the_codec_can_tell(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", 60).read_bytes()
    pictures, rng = VideoPictures(tmp_path), np.random.default_rng(0)
    expected = [np.asarray(pictures("whole.mp4", number)) for number in range(1, 61)]
    refused = wrong = 0  # without checksums, a few changes are as good a video as before
    for attempt in range(12):
        damaged = bytearray(whole)
        for place in rng.integers(whole.index(b"mdat") + 4, whole.index(b"moov") - 4, 4):
            damaged[place] ^= int(rng.integers(1, 256))
        (tmp_path / f"{attempt}.mp4").write_bytes(damaged)
        for number in range(1, 61, 4):
            try:
                found = np.asarray(pictures(f"{attempt}.mp4", number))
            except DataError:
                refused += 1
            else:
                wrong += (found != expected[number - 1]).any()
    assert 40 < refused < 12 * 15
    assert wrong < refused / 20


def test_a_file_without_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DataError, match=r"Expected a video of at most .* found none"):
        video_facts(tmp_path / "sound.mp4")


def test_a_video_that_is_to_be_turned(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "turned.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDE, HIGH, "yuv420p"
        stream.set_display_rotation(90)
        container.mux(stream.encode(av.VideoFrame.from_image(numbered(1))))
        container.mux(stream.encode())
    with pytest.raises(DataError, match=r"Expected an upright video, found one turned by -?90"):
        VideoPictures(tmp_path)("turned.mp4", 1)
