"""The book's conventions: the order of a page, section symbols, links, tables.

A page begins with its title and purpose, has numbered sections and ends with its cross-references. The
section symbol follows the citing page: the paragraph sign in `specs/hpc`, `SS` in `specs/interfaces` and
`specs/architecture`, also when those cite `hpc`.
"""

import posixpath
import re

import pytest

from house.repository import ROOT, matching, text, tracked

PAGES = [path for path in matching("src/**/*.md") if path != "src/SUMMARY.md"]
SPECS = [path for path in PAGES if re.match(r"src/specs/\w+/", path)]
CRATES = [path for path in PAGES if path.startswith("src/crates/")]
METHODS = [path for path in PAGES if "**Preconditions:**" in text(path)]
DOCUMENTS = [*PAGES, "src/SUMMARY.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)( SS\d+(?:\.\d+)*[a-z]?)?")
SECTION = re.compile(r"§\s?\d|\bSS\d")


def prose(path: str) -> str:
    """Read a page without code, whose lines and spans quote other languages."""
    without_blocks = re.sub(r"^```.*?^```$", "", text(path), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "`code`", without_blocks)


def headings(path: str, level: int) -> list[str]:
    """List a page's headings of a level."""
    without_blocks = re.sub(r"^```.*?^```$", "", text(path), flags=re.DOTALL | re.MULTILINE)
    return re.findall(rf"^#{{{level}}} (.+)$", without_blocks, re.MULTILINE)


def anchors(path: str) -> set[str]:
    """List the anchors of a page as mdBook makes them."""
    found = set()
    for level in range(1, 5):
        for heading in headings(path, level):
            kept = "".join(c for c in heading.lower().replace(" ", "-") if c.isalnum() or c in "-_")
            found.add(kept)
    return found


def test_the_summary_lists_every_page() -> None:
    listed = re.findall(r"\]\(\./([^)]+)\)|\]\(([^)./][^)]*)\)", text("src/SUMMARY.md"))
    names = [f"src/{first or second}" for first, second in listed]
    assert sorted(names) == sorted(set(names)), "a page is listed twice"
    assert sorted(names) == sorted(PAGES)


@pytest.mark.parametrize("path", SPECS)
def test_specification_pages_have_their_order(path: str) -> None:
    lines = text(path).splitlines()
    assert lines[0].startswith("# ")
    assert len(headings(path, 1)) == 1
    sections = headings(path, 2)
    assert sections[0] == "Purpose"
    assert sections[-1] == "Cross-References"
    numbered = [re.match(r"(\d+)([a-z]?)\. \S", section) for section in sections[1:-1]]
    assert all(numbered), f"sections are numbered: {sections}"
    numbers = [int(match[1]) for match in numbered if match and not match[2]]
    assert numbers == list(range(1, len(numbers) + 1))
    purpose = text(path).split("## Purpose\n")[1].split("\n## ")[0].strip()
    assert "\n\n" not in purpose, "the purpose is one paragraph"


@pytest.mark.parametrize("path", SPECS)
def test_subsections_carry_their_section_number(path: str) -> None:
    section, previous = "", 0
    for line in re.findall(
        r"^###? .+$", re.sub(r"^```.*?^```$", "", text(path), flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    ):
        if found := re.match(r"## (\d+)[a-z]?\. ", line):
            section, previous = found[1], 0
        elif line.startswith("### "):
            found = re.match(r"### (\d+)\.(\d+)([a-z]?) ", line)
            assert found, f"{line!r} has no number"
            assert found[1] == section, f"{line!r} stands in section {section}"
            assert int(found[2]) == previous + (0 if found[3] else 1), (
                f"{line!r} follows {section}.{previous}"
            )
            previous = int(found[2])


@pytest.mark.parametrize("path", PAGES)
def test_the_section_symbol_follows_the_citing_page(path: str) -> None:
    content = prose(path)
    if path.startswith("src/specs/hpc/"):
        assert not re.search(r"\bSS\d", content), "pages of hpc cite with the paragraph sign"
    elif path.startswith(("src/specs/interfaces/", "src/specs/architecture/")):
        assert "§" not in content, "pages outside hpc cite with SS"
    else:
        assert not SECTION.search(content) or path.startswith(("src/crates/", "src/guides/", "src/specs/"))
        assert not ("§" in content and re.search(r"\bSS\d", content)), "two symbols on one page"


@pytest.mark.parametrize("path", SPECS)
def test_links_between_specifications_have_their_form(path: str) -> None:
    folder = posixpath.dirname(path)
    for label, target, suffix in LINK.findall(prose(path)):
        if "://" in target or target.startswith("#"):
            continue
        assert target.startswith(("./", "../")), f"{label}: write ./{target}"
        page = posixpath.normpath(posixpath.join(folder, target.split("#")[0]))
        if folder != "src/specs/hpc":
            assert "SS" not in label, f"{label}: the section follows the link: [Name](file) SSN.M"
        else:
            assert not suffix, f"{label}: the section is part of the link: [Name §N](file)"
        if posixpath.dirname(page) == folder:
            assert target.startswith("./"), f"{label}: a page of the same folder is ./file.md"


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path: str) -> None:
    folder = posixpath.dirname(path)
    known = set(tracked())
    for label, target, _ in LINK.findall(prose(path)):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        page = posixpath.normpath(posixpath.join(folder, name)) if name else path
        assert page in known or (ROOT / page).is_dir(), f"{path}: [{label}]({target}) leads nowhere"
        if anchor:
            assert anchor in anchors(page), f"{path}: [{label}]({target}) has no such section"


@pytest.mark.parametrize("path", SPECS)
def test_cited_sections_exist(path: str) -> None:
    folder = posixpath.dirname(path)
    for label, target, suffix in LINK.findall(prose(path)):
        cited = re.search(r"(?:§|SS)(\d+(?:\.\d+)?[a-z]?)", label + suffix)
        if cited is None or "://" in target:
            continue
        file = target.split("#")[0]
        page = posixpath.normpath(posixpath.join(folder, file)) if file else path
        level, form = (3, "{} ") if "." in cited[1] else (2, "{}. ")
        assert any(heading.startswith(form.format(cited[1])) for heading in headings(page, level)), (
            f"{path}: {page} has no section {cited[1]}"
        )


@pytest.mark.parametrize("path", DOCUMENTS)
def test_tables_are_whole(path: str) -> None:
    for block in re.findall(r"(?:^\|.*\|$\n?)+", prose(path), re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", row.strip().strip("|")) for row in block.strip().splitlines()]
        assert len(rows) >= 3, f"{path}: a table needs a header, a rule and a row: {rows[0]}"
        assert all(cell.strip() for cell in rows[0]), f"{path}: a column without a header: {rows[0]}"
        assert all(re.fullmatch(r"\s*:?-+:?\s*", cell) for cell in rows[1]), (
            f"{path}: no rule under {rows[0]}"
        )
        assert {len(row) for row in rows} == {len(rows[0])}, f"{path}: uneven rows under {rows[0]}"


@pytest.mark.parametrize("path", METHODS)
def test_method_contracts_have_their_tables(path: str) -> None:
    for part in re.split(r"^### ", text(path), flags=re.MULTILINE)[1:]:
        if "**Preconditions:**" not in part and "**Postconditions:**" not in part:
            continue
        title = part.splitlines()[0]
        for word in ("Preconditions", "Postconditions"):
            table = rf"\*\*{word}:\*\*\n\n\| Condition +\| Description +\|\n"
            assert re.search(table, part), f"{path}, {title}: no table of {word.lower()}"
        assert part.index("**Preconditions:**") < part.index("**Postconditions:**")
        for word in ("Determinism", "Errors", "Thread safety"):
            assert f"**{word}:**" in part, f"{path}, {title}: says nothing on {word.lower()}"


@pytest.mark.parametrize("path", CRATES)
def test_crate_pages_have_their_order(path: str) -> None:
    lines = [line for line in text(path).splitlines() if line]
    assert re.fullmatch(r"# (cobre(-\w+)?)", lines[0])
    assert re.fullmatch(r'<span class="status-(experimental|stable)">(experimental|stable)</span>', lines[1])
    sections = headings(path, 2)
    assert sections[:2] == ["Overview", "Key Concepts"]
    assert sections[-1] == "Cross-References"
    assert [section.split(". ")[0] for section in sections[2:-1]] == [
        str(number) for number in range(1, len(sections) - 2)
    ]


def test_every_crate_has_a_page() -> None:
    crates = {path.split("/")[1] for path in matching("crates/*/Cargo.toml")}
    assert {text(path).splitlines()[0].removeprefix("# ") for path in CRATES} == crates


def test_the_page_of_errors_lists_every_kind() -> None:
    declared = re.findall(r"^    (\w+) => (\w+),$", text("crates/cobre-core/src/error.rs"), re.MULTILINE)
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \|", text("src/specs/interfaces/errors.md"), re.MULTILINE)
    assert listed == declared


def test_the_page_of_the_case_format_lists_every_file() -> None:
    source = text("crates/cobre-hydro/src/folder.rs")
    page = text("src/specs/interfaces/case-format.md")
    for name, section in [
        ("DOCUMENTS", "23"),
        ("TABLES", "23"),
        ("REFUSED_DOCUMENTS", "4"),
        ("REFUSED_TABLES", "4"),
    ]:
        found = re.search(rf"\nconst {name}: .*?= &\[(.*?)\n\];", source, re.DOTALL)
        assert found is not None
        files = re.findall(r'"((?:\w+/)?\w+(?:\.json)?)"', found[1])
        parts = re.split(r"^## ", page, flags=re.MULTILINE)
        listed = [
            row
            for part in parts
            if part[0] in section
            for row in re.findall(r"^\| `([^`]+)`", part, re.MULTILINE)
        ]
        missing = [file for file in files if file not in listed]
        assert not missing, f"{name} of folder.rs, not in section {' or '.join(section)}: {missing}"


def test_the_page_of_outputs_lists_every_column() -> None:
    page = text("src/specs/interfaces/outputs.md")
    sources = {
        "crates/cobre-hydro/src/results.rs": r'^        "(\w+)",|ids: &\[(.*?)\]|values: &\[(".*?)\]',
        "crates/cobre/src/tables.rs": r'^        \("(\w+)", (?:count|number|Arc)',
        "crates/cobre/src/policy_files.rs": r'^    \("(\w+)", DataType',
    }
    for path, pattern in sources.items():
        found = re.findall(pattern, text(path), re.MULTILINE)
        names = re.findall(
            r"\w+",
            " ".join(part for match in found for part in ([match] if isinstance(match, str) else match)),
        )
        assert names, path
        missing = [name for name in names if f"`{name}`" not in page]
        assert not missing, f"columns of {path} that the page does not have: {missing}"


@pytest.mark.parametrize("path", PAGES)
def test_formulas_survive_markdown(path: str) -> None:
    formulas = re.findall(r"\\\\\(.*?\\\\\)|\\\\\[.*?\\\\\]", text(path), re.DOTALL)
    eaten = [formula for formula in formulas if re.search(r"(?<!\\)\\[,;!{}]|[})\]']_|\*", formula)]
    assert not eaten, f"Markdown reads these before the formula is set; write \\\\, and \\_: {eaten}"
