import io
import tracemalloc
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.stream import Disposition
from av.video.frame import VideoFrame

from fingerprintdb import audio
from fingerprintdb.audio import AudioError, decode, probe
from fingerprintdb.encoding import encode
from fingerprintdb.warp import Warp

RATE_HZ = 11_025
TONE_HZ = 440

# suffix, audio codec, codec of the pictures
CONTAINERS = [
    (".mp3", "libmp3lame", None),
    (".wav", "pcm_u8", None),
    (".wav", "pcm_s16le", None),
    (".wav", "pcm_s24le", None),
    (".wav", "pcm_s32le", None),
    (".wav", "pcm_f32le", None),
    (".flac", "flac", None),
    (".ogg", "libopus", None),
    (".opus", "libopus", None),
    (".m4a", "aac", None),
    (".aac", "aac", None),
    (".mp4", "aac", "mpeg4"),
    (".mov", "aac", "mpeg4"),
    (".avi", "libmp3lame", "mpeg4"),
    (".mkv", "flac", "mpeg4"),
    (".webm", "libopus", "libvpx"),
]


def tone(duration_sec, rate_hz=48_000, hz=TONE_HZ):
    return (
        0.5 * np.sin(2 * np.pi * hz * np.arange(round(duration_sec * rate_hz)) / rate_hz)
    ).astype(np.float32)


def sweep(duration_sec, rate_hz=48_000):
    """Return a tone that rises by 100 Hz a second from 500 Hz, so that its pitch tells the time."""
    time_sec = np.arange(round(duration_sec * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * (500 + 50 * time_sec) * time_sec)).astype(np.float32)


def pitch_hz(samples, rate_hz=RATE_HZ):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples)))
    return np.argmax(spectrum) * rate_hz / (8 * len(samples))


def time_of(samples, at_sec):
    """Return the time in the sweep that is heard in the quarter second around `at_sec`."""
    middle = round(at_sec * RATE_HZ)
    return (pitch_hz(samples[middle - RATE_HZ // 8 : middle + RATE_HZ // 8]) - 500) / 100


def write(
    path, channels, codec, *, rate_hz=48_000, picture=None, layout="stereo", start_sec=0, **more
):
    """Write `channels` (channel, frame), if any, beside two seconds of moving pictures, if any."""
    with av.open(str(path), "w", **more) as container:
        if picture:
            video = container.add_stream(picture, rate=10)
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
        if channels is not None:
            sound = container.add_stream(codec, rate=rate_hz, layout=layout)
            context = sound.codec_context
            context.open()
            resampler = AudioResampler(context.format, layout, rate_hz, context.frame_size or 4800)
            frame = AudioFrame.from_ndarray(channels.T.reshape(1, -1), "flt", layout)
            frame.sample_rate = rate_hz
            frame.time_base = Fraction(1, rate_hz)
            frame.pts = round(start_sec * rate_hz)
            for piece in (*resampler.resample(frame), *resampler.resample(None), None):
                container.mux(sound.encode(piece))
        if picture:
            for shade in range(20):
                image = np.full((64, 64, 3), 10 * shade, np.uint8)
                container.mux(video.encode(VideoFrame.from_ndarray(image, "rgb24")))
            container.mux(video.encode(None))
    return path


def samples_of(file, rate_hz=RATE_HZ, **options):
    return np.concatenate([np.zeros(0, np.float32), *decode(file, rate_hz, **options)])


def level(samples):
    """Return the amplitude of a tone, its ends left out."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    return np.sqrt(2 * np.mean(middle**2))


def assert_refused(file, *words):
    for attempt in (lambda: samples_of(file), lambda: probe(file)):
        with pytest.raises(AudioError) as caught:
            attempt()
        error = caught.value
        assert all(word in error.message for word in words), error.message
        assert error.remedy
        assert not error.transient
        assert "Errno" not in str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize(("suffix", "codec", "picture"), CONTAINERS)
def test_a_tone_comes_out_of_every_container(tmp_path, suffix, codec, picture):
    path = write(tmp_path / f"a{suffix}", np.tile(tone(2.0), (2, 1)), codec, picture=picture)
    info = probe(path)
    assert info.source_type == ("video" if picture else "audio")
    assert (info.sample_rate_hz, info.channels) == (48_000, 2)
    # An .aac file has no header: FFmpeg guesses from the bit rate.
    assert info.duration_sec == pytest.approx(2.0, abs=1.0 if suffix == ".aac" else 0.12)

    blocks = list(decode(path, RATE_HZ))
    assert all(block.ndim == 1 and block.dtype == np.float32 for block in blocks)
    samples = np.concatenate(blocks)
    assert len(samples) / RATE_HZ == pytest.approx(2.0, abs=0.12)
    assert pitch_hz(samples) == pytest.approx(TONE_HZ, abs=0.5)
    # LAME writes 0.95 of the level that it is given.
    assert level(samples) == pytest.approx(0.475 if "mp3" in codec else 0.5, rel=0.01)
    assert np.array_equal(samples_of(io.BytesIO(path.read_bytes())), samples)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 48_000])
def test_the_pitch_survives_every_rate(tmp_path, rate_hz):
    encode(tmp_path / "a.wav", tone(2.0, 44_100), 44_100)
    samples = samples_of(tmp_path / "a.wav", rate_hz)
    assert len(samples) == pytest.approx(2 * rate_hz, abs=1)
    assert pitch_hz(samples, rate_hz) == pytest.approx(TONE_HZ, abs=0.5)


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le", "flac"])
def test_mono_is_the_mean_of_the_channels(tmp_path, codec):
    left = tone(1.0)
    path = tmp_path / "a.mkv"
    for right, expected in ((left, 0.5), (np.zeros_like(left), 0.25), (-left, 0.0)):
        write(path, np.stack([left, right]), codec)
        assert level(samples_of(path)) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize(("layout", "count"), [("mono", 1), ("quad", 4), ("5.1", 6), ("7.1", 8)])
def test_equal_channels_keep_their_level(tmp_path, layout, count):
    path = write(tmp_path / "a.wav", np.tile(tone(1.0), (count, 1)), "pcm_s16le", layout=layout)
    assert probe(path).channels == count
    assert level(samples_of(path)) == pytest.approx(0.5, rel=0.01)


def test_what_is_not_audio_is_refused(tmp_path):
    empty = tmp_path / "empty.wav"
    empty.touch()
    text = tmp_path / "text.mp3"
    text.write_text("This was never music.\n" * 500)
    mute = write(tmp_path / "mute.mp4", None, "", picture="mpeg4")
    hollow = tmp_path / "hollow.mkv"
    write(hollow, np.tile(tone(1.0), (2, 1)), "aac")
    hollow.write_bytes(hollow.read_bytes()[:800])
    crowd = write(
        tmp_path / "crowd.wav", np.tile(tone(0.5), (16, 1)), "pcm_s16le", layout="hexadecagonal"
    )

    assert_refused(empty, "empty")
    assert_refused(io.BytesIO(b""), "empty")
    assert_refused(text, "not audio or video")
    assert_refused(io.BytesIO(b"x"), "not audio or video")
    assert_refused(mute, "no audio track")
    assert_refused(crowd, "16 channels")
    with pytest.raises(AudioError, match="nothing"):
        samples_of(hollow)


def test_a_playlist_cannot_reach_other_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "secret.wav", tone(1.0), 48_000)
    concat = tmp_path / "list.wav"
    concat.write_text("ffconcat version 1.0\nfile secret.wav\n")
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path / 'secret.wav'}\n#EXT-X-ENDLIST\n"
    )
    assert_refused(concat, "not audio or video")
    assert_refused(playlist, "not audio or video")


def test_silence_and_a_moment_decode(tmp_path):
    encode(tmp_path / "silence.mp3", np.zeros(3 * RATE_HZ, np.float32), RATE_HZ)
    silence = samples_of(tmp_path / "silence.mp3")
    assert len(silence) == pytest.approx(3 * RATE_HZ, abs=0.1 * RATE_HZ)
    assert np.abs(silence).max() < 1e-4

    for suffix in (".wav", ".mp3", ".ogg"):
        moment = tmp_path / f"moment{suffix}"
        encode(moment, tone(0.5), 48_000)
        samples = samples_of(moment)
        assert len(samples) / RATE_HZ == pytest.approx(0.5, abs=0.06)
        assert pitch_hz(samples) == pytest.approx(TONE_HZ, abs=2)


def test_a_truncated_mp3_is_short(tmp_path):
    path = tmp_path / "a.mp3"
    encode(path, tone(10), 48_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    samples = samples_of(path)
    assert len(samples) / RATE_HZ == pytest.approx(5, abs=0.2)
    assert pitch_hz(samples) == pytest.approx(TONE_HZ, abs=0.5)


@pytest.mark.parametrize("filler", ["noise", "zeros"])
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp3", "libmp3lame"),
        (".flac", "flac"),
        (".ogg", "libopus"),
        (".mkv", "aac"),
        (".ts", "aac"),
    ],
)
def test_what_follows_damage_keeps_its_time(tmp_path, suffix, codec, filler):
    path = write(tmp_path / f"a{suffix}", np.tile(sweep(20), (2, 1)), codec)
    content = bytearray(path.read_bytes())
    size = len(content)
    damage = slice(size * 4 // 10, size * 6 // 10)
    length = damage.stop - damage.start
    content[damage] = np.random.default_rng(5).bytes(length) if filler == "noise" else bytes(length)
    samples = samples_of(io.BytesIO(content))
    assert len(samples) / RATE_HZ == pytest.approx(20, abs=0.1)
    for at_sec in (3.0, 17.0):
        assert time_of(samples, at_sec) == pytest.approx(at_sec, abs=0.06)
    # In between there is silence, and the sound on both sides is whole.
    hush = np.sqrt(np.mean(samples[: 19 * RATE_HZ].reshape(-1, RATE_HZ // 5) ** 2, axis=1)) < 0.01
    # A fifth of the file is 20 of these; Matroska finds its next cluster up to 5 s later.
    assert 15 <= hush.sum() <= 40


def test_a_recording_that_is_mostly_damaged_is_refused(tmp_path):
    path = tmp_path / "a.mp3"
    encode(path, tone(20), 48_000)
    content = bytearray(path.read_bytes())
    size = len(content)
    content[size // 10 : size * 9 // 10] = np.random.default_rng(5).bytes(
        size * 9 // 10 - size // 10
    )
    with pytest.raises(AudioError, match="more than half"):
        samples_of(io.BytesIO(content))


def test_no_damage_ends_the_process(tmp_path):
    """Damaged AAC may decode to frames of 37 channels, more than PyAV can touch."""
    path = write(tmp_path / "a.mov", np.tile(sweep(20), (2, 1)), "aac")
    content = path.read_bytes()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        start, end = len(content) * 3 // 10, len(content) * 7 // 10
        damaged[start:end] = rng.bytes(end - start)
        try:
            samples = samples_of(io.BytesIO(damaged))
        except AudioError:
            continue
        assert len(samples) / RATE_HZ < 21


def test_a_gap_in_eight_planar_channels_is_filled(tmp_path):
    path = write(tmp_path / "a.mkv", np.tile(sweep(20), (8, 1)), "aac", layout="7.1")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) * 6 // 10] = bytes(
        len(content) * 6 // 10 - len(content) // 2
    )
    samples = samples_of(io.BytesIO(content))
    assert time_of(samples, 17) == pytest.approx(17, abs=0.06)


def test_a_change_of_format_starts_a_new_resampler(tmp_path):
    """Two mp3 files in one, as radio archives have them: 48 kHz stereo, then 24 kHz mono."""
    first = write(tmp_path / "a.mp3", np.tile(tone(3), (2, 1)), "libmp3lame")
    second = tmp_path / "b.mp3"
    encode(second, tone(3, 24_000, 660), 24_000)
    samples = samples_of(io.BytesIO(first.read_bytes() + second.read_bytes()))
    assert len(samples) / RATE_HZ == pytest.approx(6, abs=0.15)
    assert pitch_hz(samples[: 2 * RATE_HZ]) == pytest.approx(440, abs=1)
    assert pitch_hz(samples[-2 * RATE_HZ :]) == pytest.approx(660, abs=1)
    assert level(samples[: 2 * RATE_HZ]) == pytest.approx(0.475, rel=0.01)  # LAME's 0.95
    assert level(samples[-2 * RATE_HZ :]) == pytest.approx(0.475, rel=0.01)


def test_time_zero_is_the_first_sample(tmp_path):
    path = write(tmp_path / "a.mkv", np.tile(tone(2), (2, 1)), "flac", picture="mpeg4", start_sec=5)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert float(stream.start_time * stream.time_base) == pytest.approx(5, abs=0.01)
    samples = samples_of(path)
    assert len(samples) / RATE_HZ == pytest.approx(2, abs=0.01)
    assert np.abs(samples[: RATE_HZ // 10]).max() > 0.4


def test_samples_that_are_not_numbers_become_zero(tmp_path):
    sound = tone(2.0)
    sound[48_000] = np.nan
    sound[60_000:60_010] = np.inf
    sound[70_000] = 1e30
    path = write(tmp_path / "a.wav", sound[np.newaxis], "pcm_f32le", layout="mono")
    samples = samples_of(path)
    assert np.isfinite(samples).all()
    assert np.mean(samples == 0) < 0.01
    assert level(samples) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("max_duration_sec", [0.4, 1.0, 2.5, 60.0])
def test_the_cap_is_exact(tmp_path, max_duration_sec):
    encode(tmp_path / "a.flac", tone(4, RATE_HZ), RATE_HZ)
    samples = samples_of(tmp_path / "a.flac", max_duration_sec=max_duration_sec)
    assert len(samples) == round(min(max_duration_sec, 4) * RATE_HZ)


def test_half_an_hour_needs_the_memory_of_a_moment(tmp_path):
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(bytes(1800 * 8_000 * 2))
    tracemalloc.start()
    try:
        blocks = frames = 0
        for block in decode(path, RATE_HZ):
            assert len(block) <= RATE_HZ
            blocks += 1
            frames += len(block)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert frames == pytest.approx(1800 * RATE_HZ, abs=RATE_HZ)
    assert blocks >= 1800
    assert peak_bytes < 2_000_000  # all of it is 79 MB


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_encode_round_trips(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    encode(path, 3 * sweep(4, 22_050), 22_050, {"title": "Sweep", "artist": "Nobody"})
    info = probe(path)
    assert info.tags["title"] == "Sweep"
    assert info.tags["artist"] == "Nobody"
    assert info.sample_rate_hz == (48_000 if suffix == ".ogg" else 22_050)
    samples = samples_of(path)
    assert len(samples) / RATE_HZ == pytest.approx(4, abs=0.06)
    assert time_of(samples, 3) == pytest.approx(3, abs=0.06)
    assert np.abs(samples).max() < 1.6  # 1.5 would have passed 3 × 0.5 unclipped


def test_tags_have_lower_case_keys_and_survive_odd_bytes(tmp_path):
    path = tmp_path / "a.mp3"
    encode(path, tone(1), 48_000, {"title": "ABCDEFGH", "ALBUM": "Ü"})
    tags = probe(path).tags
    assert tags["album"] == "Ü"
    path.write_bytes(path.read_bytes().replace(b"ABCDEFGH", b"ABCD\xff\xfeGH"))
    assert probe(path).tags["title"].startswith("ABCD")


def test_cover_art_makes_no_video(tmp_path):
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("libmp3lame", rate=48_000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width = cover.height = 16
        cover.pix_fmt = "rgb24"
        cover.disposition = Disposition.attached_pic
        picture = VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
        for packet in cover.encode(picture) + cover.encode(None):
            container.mux(packet)
        frame = AudioFrame.from_ndarray(tone(1)[np.newaxis], "fltp", "mono")
        frame.sample_rate = 48_000
        resampler = AudioResampler(sound.codec_context.format, "mono", 48_000, 1152)
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(sound.encode(piece))
    with av.open(str(path)) as container:
        assert container.streams.video
    assert probe(path).source_type == "audio"
    assert len(samples_of(path)) == pytest.approx(RATE_HZ, abs=0.1 * RATE_HZ)


def test_the_decoder_says_nothing(tmp_path, capfd):
    path = tmp_path / "a.mp3"
    encode(path, tone(5), 48_000)
    content = bytearray(path.read_bytes())
    content[20_000:30_000] = bytes(10_000)
    samples_of(io.BytesIO(content))
    with pytest.raises(AudioError):
        samples_of(io.BytesIO(b"ID3" + bytes(300)))
    assert capfd.readouterr() == ("", "")
    assert audio.av.logging.get_level() is None


@pytest.mark.parametrize(
    "warp", [Warp(1.25, 1.25), Warp(0.8, 0.8), Warp(1.2, 1.0), Warp(1.0, 0.75), Warp(0.5, 1.0)]
)
def test_a_warp_changes_pitch_and_tempo(tmp_path, warp):
    encode(tmp_path / "a.wav", tone(3.0, 44_100), 44_100)
    samples = samples_of(tmp_path / "a.wav", RATE_HZ, warp=warp)
    assert len(samples) / RATE_HZ == pytest.approx(3.0 / warp.tempo, abs=0.06)
    assert pitch_hz(samples) == pytest.approx(TONE_HZ * warp.pitch, rel=0.002)
