import pytest

from tritonexp.report import style


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Give a function that draws a picture and returns the figure that it saved, or None."""

    def drawn(picture, record):
        saved = []
        monkeypatch.setattr(style, "save", lambda made, _: saved.append(made))
        told = picture(record, tmp_path / "a.png")
        assert told is bool(saved)
        return saved[0] if saved else None

    return drawn
