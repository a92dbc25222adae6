import shutil
from pathlib import Path

import pytest

from tritonexp import operations
from tritonexp.errors import ConfigError, OperationError
from tritonexp.records import Role, sha256_of


@pytest.fixture
def kernels_dir(tmp_path: Path) -> Path:
    """Make a folder of kernels that holds a copy of softmax, free to be broken."""
    shutil.copytree(
        operations.KERNELS_DIR / "softmax",
        tmp_path / "softmax",
        ignore=shutil.ignore_patterns("recorded", "evaluations", "__pycache__"),
    )
    return tmp_path


def test_names_lists_the_folders_that_hold_a_spec(kernels_dir: Path) -> None:
    """An operation is there once its folder is, and files beside the folders do not count."""
    shutil.copytree(kernels_dir / "softmax", kernels_dir / "another")
    (kernels_dir / "notes").mkdir()
    (kernels_dir / "README.md").write_text("not an operation")
    assert operations.names(kernels_dir) == ("another", "softmax")


@pytest.mark.parametrize("name", operations.names())
def test_every_operation_loads_with_its_sides_in_order(name: str) -> None:
    """A loaded operation has a baseline, experts, contenders and the house kernel last of these."""
    operation = operations.load(name)
    assert operation.name == operation.entry_point == name
    assert operation.baseline.role is Role.BASELINE
    assert {expert.role for expert in operation.experts} <= {Role.EXPERT}
    assert {contender.role for contender in operation.contenders} == {Role.CONTENDER}
    assert operation.contenders[-1].name == "house"
    sides = (operation.baseline, *operation.experts, *operation.contenders)
    assert len({side.name for side in sides}) == len(sides)


@pytest.mark.parametrize("name", operations.names())
def test_every_side_has_the_signature_of_the_baseline(name: str) -> None:
    """Adapters and house kernels can be called just as the baseline is."""
    operation = operations.load(name)
    parameters = operation.brief.signature.removeprefix(name)
    for side in (*operation.experts, *operation.contenders):
        signature = operations.signature_in(side.source, side.entry_point)
        assert signature.removeprefix(side.entry_point) == parameters


@pytest.mark.parametrize("name", operations.names())
def test_every_package_side_says_where_it_comes_from(name: str) -> None:
    """What is called from a package carries its installed version, licence and location."""
    operation = operations.load(name)
    for side in (*operation.experts, *operation.contenders):
        assert side.provenance.licence
        assert side.provenance.location
        if side.provenance.origin == "package":
            assert side.provenance.version


@pytest.mark.parametrize("name", operations.names())
def test_the_brief_tells_the_baseline_and_nothing_of_the_others(name: str) -> None:
    """A prompt gets the baseline's text word for word, and an argument for each parameter."""
    operation = operations.load(name)
    brief = operation.brief
    assert sha256_of(brief.baseline_source) == operation.baseline.sha256
    assert "#" not in brief.baseline_source
    assert '"""' not in brief.baseline_source
    assert [argument.name for argument in brief.arguments] == [
        argument.name for argument in operation.spec.arguments
    ]


@pytest.mark.parametrize("name", operations.names())
def test_every_listed_size_is_one_that_the_spec_accepts(name: str) -> None:
    """Awkward, interpreter and ladder sizes all lie within the largest extents."""
    spec = operations.load(name).spec
    for extents in (*spec.irregular, *spec.interpreter):
        assert spec.size(extents).extents == extents
    assert spec.size(spec.from_ladder(8192, 1024)) == spec.size((8192, 1024))


def test_softmax_guards_the_text_of_the_module_that_holds_the_expert() -> None:
    """The expert's own module is guarded, although it is only found and never imported."""
    guarded = operations.load("softmax").guarded_sources
    assert "class LigerSoftmaxFunction" in guarded["liger_kernel.ops.softmax"]
    assert "def softmax_kernel(" in guarded["house.py"]
    assert "EXPERTS" in guarded["experts.py"]


def test_unknown_operation_lists_those_there_are(kernels_dir: Path) -> None:
    """A misspelt name is answered with the names that would do."""
    with pytest.raises(ConfigError, match=r"no operation 'softmaxx'; there are softmax\."):
        operations.load("softmaxx", kernels_dir)


def test_baseline_without_the_folders_function_is_refused(kernels_dir: Path) -> None:
    """The entry point is the folder's name, and the message says so."""
    baseline = kernels_dir / "softmax" / "baseline.py"
    baseline.write_text(baseline.read_text().replace("def softmax(", "def soft_max("))
    with pytest.raises(OperationError, match=r"defines no function 'softmax'"):
        operations.load("softmax", kernels_dir)


def test_arguments_that_disagree_with_the_baseline_are_refused(kernels_dir: Path) -> None:
    """A spec that names other arguments than the function takes cannot be run."""
    spec = kernels_dir / "softmax" / "spec.py"
    spec.write_text(spec.read_text().replace('name="x"', 'name="scores"'))
    with pytest.raises(OperationError, match=r"lists the arguments \['scores'\].*takes \['x'\]"):
        operations.load("softmax", kernels_dir)


@pytest.mark.parametrize(
    ("file", "constant"),
    [("spec.py", "SPEC"), ("experts.py", "EXPERTS"), ("contenders.py", "CONTENDERS")],
)
def test_file_without_its_constant_is_refused(kernels_dir: Path, file: str, constant: str) -> None:
    """Each file is told which constant it must define."""
    (kernels_dir / "softmax" / file).write_text('"""Nothing."""\n')
    with pytest.raises(OperationError, match=f"{file} must define {constant}"):
        operations.load("softmax", kernels_dir)


def test_file_that_cannot_be_imported_is_named_with_its_error(kernels_dir: Path) -> None:
    """The exception inside a broken file is part of the message."""
    (kernels_dir / "softmax" / "contenders.py").write_text("raise RuntimeError('half written')\n")
    with pytest.raises(OperationError, match=r"contenders\.py cannot be loaded.*half written"):
        operations.load("softmax", kernels_dir)


@pytest.mark.parametrize("file", ["baseline.py", "experts.py", "contenders.py", "house.py"])
def test_missing_file_of_the_contract_is_named(kernels_dir: Path, file: str) -> None:
    """A folder without one of its files is told which, and that every operation has one."""
    (kernels_dir / "softmax" / file).unlink()
    with pytest.raises(OperationError, match=f"{file} is missing"):
        operations.load("softmax", kernels_dir)


@pytest.mark.parametrize("extents", [(), (7,), (1, 2, 3), (0, 5), (5, -1)])
def test_size_of_the_wrong_form_says_what_it_takes(extents: tuple[int, ...]) -> None:
    """Too few, too many or non-positive extents are answered with the axes and an example."""
    spec = operations.load("softmax").spec
    with pytest.raises(ConfigError, match=r"2 positive whole numbers \(rows, cols\)"):
        spec.size(extents)


def test_size_beyond_the_largest_extent_names_axis_and_limit() -> None:
    """The axis, its extent and the largest one are all in the message."""
    spec = operations.load("softmax").spec
    with pytest.raises(ConfigError, match=r"4x65537 has cols=65537.*\(65536\)"):
        spec.size((4, 65537))


def test_matmul_takes_a_ladders_pair_for_three_axes() -> None:
    """A pair of rows and columns becomes m, n and k, with their flops and bytes."""
    spec = operations.load("matmul").spec
    size = spec.size((8192, 1024))
    assert size.as_dict() == {"m": 8192, "n": 1024, "k": 1024}
    assert spec.flops is not None
    assert spec.flops(size) == 2 * 8192 * 1024 * 1024
    assert spec.floor_bytes(size, "float16") == 2 * (8192 * 1024 + 1024 * 1024 + 8192 * 1024)


def test_signature_of_an_absent_function_is_refused() -> None:
    """Only functions at the top level of the text count."""
    with pytest.raises(OperationError, match="no function 'softmax'"):
        operations.signature_in("class A:\n    def softmax(self): ...\n", "softmax")
