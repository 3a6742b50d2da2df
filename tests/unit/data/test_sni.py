import pytest

from coplms.config.data import SourceConfig
from coplms.data.example import Example
from coplms.data.sni import read
from coplms.errors import DataError

TASK = {
    "Definition": ["Add them. Give e.g. 3 for 1 and 2!  Nothing else."],
    "Categories": ["Arithmetic", "Other"],
    "Positive Examples": [{"input": "0 0", "output": "0", "explanation": "sum"}],
    "Negative Examples": [],
    "Instances": [{"id": "t-1", "input": "1 2", "output": ["3", "three"]}],
}


def read_all(path: str, **settings: object) -> list[Example]:
    return list(read(SourceConfig(path=path, format="sni", **settings)))


def test_an_instance_arrives_with_definition_category_and_task(write):
    path = write("task001_sum.json", TASK)
    assert read_all(path) == [
        Example(
            instruction="Add them. Give e.g. 3 for 1 and 2!  Nothing else.",
            input="1 2",
            references=("3", "three"),
            domain="Arithmetic",
            task="task001_sum",
            origin=f"{path}[0]",
        )
    ]


@pytest.mark.parametrize(("kind", "instruction"), [("none", ""), ("first_sentence", "Add them.")])
def test_the_definition_is_cut_as_asked(write, kind, instruction):
    (example,) = read_all(write("task001_sum.json", TASK), definition=kind)
    assert example.instruction == instruction


def test_abbreviations_end_no_sentence(write):
    task = TASK | {"Definition": "Give a sum, e.g. 3, i.e. a number. Stop."}
    (example,) = read_all(write("task001_sum.json", task), definition="first_sentence")
    assert example.instruction == "Give a sum, e.g. 3, i.e. a number."


@pytest.mark.parametrize(
    ("definition", "instruction"),
    [("One.", "One."), (["", "Two.", "Three."], "Two."), ([], ""), (None, "")],
)
def test_definition_may_be_a_list_a_string_or_absent(write, definition, instruction):
    (example,) = read_all(write("task001_sum.json", TASK | {"Definition": definition}))
    assert example.instruction == instruction


@pytest.mark.parametrize(
    ("categories", "domain"),
    [("Sums", "Sums"), (["Sums"], "Sums"), ([], "unknown"), (None, "unknown")],
)
def test_categories_may_be_a_list_a_string_or_absent(write, categories, domain):
    (example,) = read_all(write("task001_sum.json", TASK | {"Categories": categories}))
    assert example.domain == domain


def test_versions_of_2021_are_read(write):
    old = {
        "Contributors": ["someone"],
        "Source": ["x"],
        "Categories": ["Arithmetic"],
        "Definition": "Add.",
        "Positive Examples": [],
        "Negative Examples": [],
        "Instances": [{"input": "1 2", "output": "3"}],
    }
    (example,) = read_all(write("task001_sum.json", old))
    assert (example.instruction, example.references) == ("Add.", ("3",))


@pytest.mark.parametrize(
    ("output", "references"),
    [
        ("3", ("3",)),
        (["3"], ("3",)),
        ([3, 4], ("3", "4")),
        (3, ("3",)),
        ([1.5], ("1.5",)),
        (["3", "3", ""], ("3",)),
    ],
)
def test_output_may_be_a_list_or_one_of_strings_or_numbers(write, output, references):
    task = TASK | {"Instances": [{"input": "1 2", "output": output}]}
    (example,) = read_all(write("task001_sum.json", task))
    assert example.references == references


def test_an_instance_whose_outputs_are_blank_is_left_out(write):
    instances = [{"input": "a", "output": [""]}, {"input": "b", "output": "c"}]
    (example,) = read_all(write("task001_sum.json", TASK | {"Instances": instances}))
    assert example.origin.endswith("[1]")


def test_a_split_tasks_name_is_its_folders(write, tmp_path):
    write("task001_sum/train.json", TASK)
    write("task002_minus/train.json", TASK)
    examples = read_all(f"{tmp_path}/*/train.json", tasks=["task002"])
    assert [example.task for example in examples] == ["task002_minus"]


@pytest.mark.parametrize("name", ["task001", "task001_sum", "task001_sum.json"])
def test_tasks_are_chosen_by_number_or_name(write, tmp_path, name):
    write("task001_sum.json", TASK)
    write("task0011_other.json", TASK)
    assert {example.task for example in read_all(str(tmp_path), tasks=[name])} == {"task001_sum"}


@pytest.mark.parametrize("name", ["task010", "task001_sun", "task1_sum"])
def test_an_unknown_task_is_refused_with_close_names(write, tmp_path, name):
    write("task001_sum.json", TASK)
    with pytest.raises(DataError, match=f"no SNI task '{name}'(.|\n)*task001_sum"):
        read_all(str(tmp_path), tasks=[name])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not an SNI task file"),
        ({"Definition": "x"}, "`Instances` must be a list"),
        (TASK | {"Instances": []}, "`Instances` must be a list"),
        (TASK | {"Instances": ["x"]}, r"\[0\]: an instance must be an object"),
        (TASK | {"Instances": [{"output": "x"}]}, r"\[0\]: an instance must be an object"),
        (TASK | {"Instances": [{"input": "x"}]}, r"\[0\]: `output` must be"),
        (TASK | {"Instances": [{"input": "x", "output": []}]}, r"\[0\]: `output` must be"),
        (TASK | {"Instances": [{"input": "x", "output": [["y"]]}]}, r"\[0\]: `output` must be"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_another_file_is_refused(write, content, message):
    with pytest.raises(DataError, match=message):
        read_all(write("task001_sum.json", content))
