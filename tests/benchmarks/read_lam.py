"""Reading looking-at-me at its real size: 435 clips of 9,000 frames, 1.2 million face-frames.

    python tests/benchmarks/read_lam.py --pictures folders
    python tests/benchmarks/read_lam.py --pictures videos

Writes annotation files of that size, with every field of the release, and as pictures one folder
of 9,000 files, or one video of five minutes, under the names of all clips. Then reads both splits
in a process of its own. The goal is seconds, and less memory than three times the larger file.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import uuid
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from degradation.tasks import get_task

CLIPS = {"train": 385, "val": 50}
FACES_A_CLIP, FRAMES = 2760, 9000
TRACKS, PERSONS = 30, 4
WIDTH, HEIGHT = 1440, 1080


def annotation(split: str, rng: np.random.Generator) -> tuple[list[str], dict]:
    """Names of clips, and what is in the file."""
    videos, uids = [], []
    for _ in range(CLIPS[split]):
        persons = [
            {"person_id": str(n), "camera_wearer": n == 0, "tracking_paths": []}
            for n in range(PERSONS)
        ]
        segments = []
        for number in range(TRACKS):
            long = FACES_A_CLIP // TRACKS
            first, person = int(rng.integers(1, FRAMES - long)), 1 + number % (PERSONS - 1)
            boxes = rng.uniform((0, 0, 40, 40), (1300, 900, 140, 180), (long, 4))
            persons[person]["tracking_paths"].append(
                {
                    "track_id": str(uuid.UUID(bytes=rng.bytes(16))),
                    "track": [
                        {
                            **dict(zip(("x", "y", "width", "height"), box, strict=True)),
                            "frame": first + k,
                            "video_frame": 4321 + first + k,
                            "clip_frame": None,
                        }
                        for k, box in enumerate(boxes.tolist())
                    ],
                    "suspect": False,
                    "unmapped_frames_count": 0,
                    "unmapped_frames": [],
                }
            )
            if number % 7 == 0:
                segments.append(
                    {
                        "start_frame": first,
                        "end_frame": first + long - 1,
                        "person": str(person),
                        "is_at_me": False,
                    }
                )
        uids.append(str(uuid.UUID(bytes=rng.bytes(16))))
        clip = {"clip_uid": uids[-1], "persons": persons, "social_segments_looking": segments}
        videos.append({"video_uid": "v", "split": split, "clips": [clip]})
    return uids, {"version": "v1", "videos": videos}


def folder_of_pictures(place: Path) -> None:
    """Nine thousand pictures."""
    place.mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(place / "img_00001.jpg")
    for number in range(2, FRAMES + 1):
        (place / f"img_{number:05d}.jpg").hardlink_to(place / "img_00001.jpg")


def video(place: Path) -> None:
    """Five minutes of black, every frame a key frame, as the owners' script cuts clips."""
    import av

    place.parent.mkdir(parents=True)
    with av.open(str(place), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "1", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        frame = av.VideoFrame.from_image(Image.new("RGB", (WIDTH, HEIGHT)))
        for number in range(FRAMES):
            frame.pts, frame.time_base = number, Fraction(1, 30)  # encoding changes both
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write(root: Path, pictures: str) -> None:
    """A data root of the real size."""
    rng = np.random.default_rng(0)
    (root / "json").mkdir()
    uids = []
    for split in CLIPS:
        some, data = annotation(split, rng)
        uids += some
        with (root / "json" / f"av_{split}.json").open("w") as file:
            json.dump(data, file)
    if pictures == "videos":
        first = root / "videos" / f"{uids[0]}.mp4"
        video(first)
        for uid in uids[1:]:
            first.with_name(f"{uid}.mp4").hardlink_to(first)
        return
    first = root / "video_imgs" / uids[0]
    folder_of_pictures(first)
    for uid in uids[1:]:
        first.with_name(uid).symlink_to(first)


def read(root: Path) -> None:
    """Reads both splits; prints times and the peak of memory."""
    task = get_task("lam", data_root=root)
    imported = peak()
    for split in task.splits:
        started, worked = time.perf_counter(), time.process_time()
        rows = task.read(split)
        wall, work = time.perf_counter() - started, time.process_time() - worked
        print(
            f"{split:5s} {len(rows):6d} rows in {wall:5.1f} s ({work:.1f} s of work), "
            f"{len(rows.left_out)} left out, {rows.labels['looking'].mean():.1%} positive"
        )
    print(f"peak {peak():.0f} MB, of which {imported:.0f} MB before reading")


def peak() -> float:
    """Peak of this process's memory in MB; `getrusage` would start from that of its parent."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def main() -> None:
    """Write, then read in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", choices=("folders", "videos"), default="folders")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read(arguments.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arguments.pictures)
        for file in sorted((Path(folder) / "json").iterdir()):
            print(f"{file.name}: {file.stat().st_size / 1e6:.0f} MB", flush=True)
        subprocess.run([sys.executable, __file__, "--read", folder], check=True)


if __name__ == "__main__":
    main()
