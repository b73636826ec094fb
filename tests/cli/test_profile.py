"""profile: list, build, activate and drop."""

import pytest


@pytest.fixture
def stocked_url(fpdb, migrated_url, recordings) -> str:
    run = fpdb(migrated_url, "ingest", recordings / "two.wav", recordings / "three.mp3")
    assert run.returncode == 0
    return migrated_url


def states(fpdb, url, json_lines):
    columns = ("name", "state", "assets", "share", "failed")
    lines = json_lines(fpdb(url, "profile", "list", "--json"))
    return [tuple(line[column] for column in columns) for line in lines]


def test_a_profile_is_built_switched_to_and_dropped(fpdb, stocked_url, recordings, json_lines):
    assert states(fpdb, stocked_url, json_lines) == [
        ("accurate", "active", 2, 1.0, 0),
        ("compact", "retired", 0, 0.0, 0),
    ]
    run = fpdb(stocked_url, "profile", "build", "compact")
    assert run.returncode == 0
    assert run.stdout.startswith("profile compact is being built, 2 assets are queued: run `fpdb w")
    assert "`fpdb profile activate compact`" in run.stdout
    assert fpdb(stocked_url, "worker", "--once").returncode == 0
    plain = fpdb(stocked_url, "profile", "list").stdout.splitlines()
    assert plain[0] == "profile\tdigest\tstate\tassets\tdone\tfailed\treason"
    assert plain[2].startswith("compact\t")
    assert plain[2].endswith("\tbuilding\t2\t100 %\t0\t")
    run = fpdb(stocked_url, "profile", "activate", "compact")
    assert (run.returncode, run.stdout) == (0, "profile compact is active\n")
    clip = recordings / "two.wav"
    (answer,) = json_lines(fpdb(stocked_url, "identify", "--json", clip))
    assert answer["matches"][0]["uri"] == str(clip)
    run = fpdb(stocked_url, "profile", "drop", "accurate")
    assert run.stdout.startswith("profile accurate is gone from 2 assets; ")
    assert states(fpdb, stocked_url, json_lines) == [
        ("accurate", "retired", 0, 0.0, 0),
        ("compact", "active", 2, 1.0, 0),
    ]
    run = fpdb(stocked_url, "init", "--profile", "accurate")
    assert "profile accurate is active, 2 assets are queued to be fingerprinted" in run.stdout


def test_failures_are_counted_with_a_reason(fpdb, migrated_url, recordings, tmp_path, json_lines):
    path = tmp_path / "gone.wav"
    path.write_bytes((recordings / "two.wav").read_bytes())
    fpdb(migrated_url, "ingest", path)
    path.unlink()
    fpdb(migrated_url, "profile", "build", "compact")
    fpdb(migrated_url, "worker", "--once")
    assert states(fpdb, migrated_url, json_lines)[1] == ("compact", "building", 0, 0.0, 1)
    assert "gone.wav does not exist" in fpdb(migrated_url, "profile", "list").stdout
    (found,) = json_lines(fpdb(migrated_url, "status", "--json"))
    assert found["assets"] == {"ready": 1}


def test_an_empty_database_has_nothing_to_build(fpdb, migrated_url):
    run = fpdb(migrated_url, "profile", "build", "compact")
    assert run.stdout == (
        "profile compact is being built, 0 assets are queued:"
        " `fpdb profile activate compact` switches to it\n"
    )
    assert fpdb(migrated_url, "profile", "list").stdout.splitlines()[2].endswith("\t0\t\t0\t")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("build", "tiny"), "there is no profile 'tiny' — there are accurate and compact"),
        (("activate", "tiny"), "there is no profile 'tiny' — there are accurate and compact"),
        (("drop", "tiny"), "no profile is 'tiny' — name a digest: "),
        (("build", "accurate"), "is the active one: new assets get it as they come — to make"),
        (("drop", "accurate"), "nothing would be found — activate another one first"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_can(fpdb, migrated_url, arguments, said):
    run = fpdb(migrated_url, "profile", *arguments)
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert said in run.stderr
    assert run.stderr.count("\n") == 1
