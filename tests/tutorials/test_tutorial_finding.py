"""Where a tutorial's file comes from; GitHub is a server on this machine here."""

import hashlib
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tutorial_file import FILE, TEXT

from tritonexp.errors import ConfigError, ExpertError
from tritonexp.tutorials import finding

SHA256 = hashlib.sha256(TEXT.encode()).hexdigest()
OTHER = TEXT + "# changed\n"


class Website:
    """Answers every request with a status and a body, and counts them."""

    def __init__(self):
        self.status, self.body, self.asked = 200, TEXT.encode(), []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                self.send_response(site.status)
                self.send_header("Content-Length", str(len(site.body)))
                self.end_headers()
                self.wfile.write(site.body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        """Stop answering."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def website(monkeypatch):
    """A stand-in for GitHub."""
    site = Website()
    address = f"http://127.0.0.1:{site.server.server_port}"
    monkeypatch.setattr(finding, "URL", address + "/{commit}/{file}")
    yield site
    site.close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache, empty; no setting of the environment, and no way to a network."""
    monkeypatch.setenv("TRITONEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(finding.VARIABLE, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # a port where nobody listens
    monkeypatch.setattr(finding, "URL", "http://127.0.0.1:1/{commit}/{file}")
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """A folder of the user's that holds the file."""
    made = tmp_path / "tutorials"
    made.mkdir()
    (made / FILE).write_text(TEXT)
    return made


def git(folder, *arguments):
    """Run git in a folder, without anybody's settings."""
    settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", folder, *settings, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_download_is_kept_and_not_asked_for_again(website, cache):
    """The first use downloads the pinned commit's file, the second one reads what was kept."""
    first = finding.find(FILE, SHA256)
    assert website.asked == [f"/{finding.COMMIT}/{FILE}"]
    assert first.text == TEXT
    assert (first.version, first.sha256) == (finding.COMMIT, SHA256)
    assert first.location == finding.URL.format(commit=finding.COMMIT, file=FILE)
    assert first.path == cache / "tutorials" / finding.COMMIT / FILE
    website.status = 500
    assert finding.find(FILE, SHA256) == first
    assert [path.name for path in first.path.parent.iterdir()] == [FILE]


def test_what_was_changed_in_the_cache_is_downloaded_again(website):
    """A file of the cache counts only while it is the pinned one."""
    kept = finding.find(FILE, SHA256).path
    kept.write_text(OTHER)
    assert finding.find(FILE, SHA256).text == TEXT
    assert kept.read_text() == TEXT
    assert len(website.asked) == 2


def test_a_download_that_is_not_the_pinned_file_is_refused(website, cache):
    """Both hashes are told, nothing is kept, and the message says what to set."""
    website.body = OTHER.encode()
    with pytest.raises(
        ExpertError, match=r"expected\. It was not kept; set expert\.path"
    ) as caught:
        finding.find(FILE, SHA256)
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(OTHER.encode()).hexdigest() in str(caught.value)
    assert not cache.exists()


@pytest.mark.parametrize("status", [404, 500])
def test_an_answer_that_is_an_error_is_told(website, status):
    """The server's status is in the message, with what to set."""
    website.status = status
    with pytest.raises(
        ExpertError, match=rf"cannot be downloaded from http.*{status}.*expert\.path"
    ):
        finding.find(FILE, SHA256)


def test_without_a_network_one_sentence_says_what_to_set():
    """Nobody answers: the file, the address, both settings and a folder that would do."""
    with pytest.raises(ExpertError) as caught:
        finding.find(FILE, SHA256)
    said = str(caught.value)
    for word in (FILE, "127.0.0.1", "refused", "expert.path", finding.VARIABLE, "python/tutorials"):
        assert word in said
    assert "\n" not in said


def test_a_cache_that_cannot_be_written_says_what_to_set(website, cache):
    """A file in the cache folder's place is told, and the variable that names another."""
    cache.write_text("")
    with pytest.raises(ExpertError, match=r"cannot be kept in .*TRITONEXP_CACHE"):
        finding.find(FILE, SHA256)


@pytest.mark.parametrize("inside", ["", FILE], ids=["folder", "file"])
@pytest.mark.parametrize("way", ["config", "environment"])
def test_the_users_file_is_taken_from_a_folder_or_by_its_name(folder, monkeypatch, way, inside):
    """The key of the configuration and the environment variable both take either."""
    given = str(folder / inside)
    if way == "environment":
        monkeypatch.setenv(finding.VARIABLE, given)
    found = finding.find(FILE, SHA256, given if way == "config" else None)
    assert found.text == TEXT
    assert (found.path, found.location) == (folder / FILE, str(folder / FILE))
    assert found.version == finding.COMMIT


def test_the_root_of_a_checkout_will_do(folder, tmp_path):
    """The file is found where a checkout of Triton has it."""
    (tmp_path / "triton" / "python").mkdir(parents=True)
    folder.rename(tmp_path / "triton" / "python" / "tutorials")
    found = finding.find(FILE, SHA256, str(tmp_path / "triton"))
    assert found.path == tmp_path / "triton" / "python" / "tutorials" / FILE


def test_the_configuration_goes_before_the_environment(folder, tmp_path, monkeypatch):
    """And both go before the cache; what is not set is passed over."""
    monkeypatch.setenv(finding.VARIABLE, str(tmp_path / "absent"))
    assert finding.find(FILE, SHA256, str(folder)).text == TEXT
    monkeypatch.setenv(finding.VARIABLE, str(folder))
    assert finding.find(FILE, SHA256, "").path == folder / FILE


def test_a_path_that_leads_nowhere_is_refused_by_its_setting(tmp_path, monkeypatch):
    """It is not passed over: the message has the setting, the value and what it takes."""
    with pytest.raises(ConfigError, match=rf"expert\.path={tmp_path} leads to no file.*{FILE}"):
        finding.find(FILE, SHA256, str(tmp_path))
    monkeypatch.setenv(finding.VARIABLE, "~nobody-of-this-name/tutorials")
    with pytest.raises(ConfigError, match=r"TRITON_TUTORIALS=~nobody-of-this-name/tutorials leads"):
        finding.find(FILE, SHA256)


def test_another_version_of_the_users_is_taken_with_its_own_hash(folder):
    """What the user names is trusted, and never called the pinned commit's."""
    (folder / FILE).write_text(OTHER)
    found = finding.find(FILE, SHA256, str(folder))
    assert found.sha256 == hashlib.sha256(OTHER.encode()).hexdigest()
    assert found.version is None


def test_another_version_in_a_checkout_has_its_commit(folder):
    """The commit that is checked out, marked where the file was changed since."""
    (folder / FILE).write_text(OTHER)
    git(folder, "init", "--quiet")
    git(folder, "add", FILE)
    git(folder, "commit", "--quiet", "-m", "a tutorial")
    commit = git(folder, "rev-parse", "HEAD")
    assert finding.find(FILE, SHA256, str(folder)).version == commit
    (folder / FILE).write_text(OTHER + "# again\n")
    assert finding.find(FILE, SHA256, str(folder)).version == f"{commit}-dirty"


def test_a_file_that_a_repository_does_not_hold_has_no_commit(folder):
    """A copy in somebody's own repository is no version of that repository."""
    git(folder, "init", "--quiet")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "nothing")
    (folder / FILE).write_text(OTHER)
    assert finding.find(FILE, SHA256, str(folder)).version is None


def test_a_file_that_is_no_text_is_refused(folder):
    """A compiled or compressed file is told by its path."""
    (folder / FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(ExpertError, match=rf"{FILE} is no text in UTF-8 \(byte 0\).*expert\.path"):
        finding.find(FILE, SHA256, str(folder))


def test_candidates_may_not_read_the_cache_nor_the_users_files(folder, cache, monkeypatch):
    """Whether a tutorial is compared with or not; a folder as a whole is not closed."""
    assert finding.private_paths([FILE]) == (str(cache / "tutorials"),)
    monkeypatch.setenv(finding.VARIABLE, str(folder))
    assert finding.private_paths([FILE, "05-layer-norm.py"]) == (
        str(folder / FILE),
        str(cache / "tutorials"),
    )


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    """A download has nowhere to go, and nothing has to be closed to candidates."""
    monkeypatch.delenv("TRITONEXP_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(
        finding.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home"))
    )
    assert finding.private_paths([FILE]) == ()
    with pytest.raises(ConfigError, match=r"no home\. Set TRITONEXP_CACHE"):
        finding.find(FILE, SHA256)
