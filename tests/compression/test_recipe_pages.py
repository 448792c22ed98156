"""Every recipe has a page, every page a recipe, and the list of them is current."""

import runpy
from pathlib import Path

from edgepress_compression.recipe import list_recipes

DOCS = Path(__file__).parents[2] / "docs"


def test_every_recipe_has_a_page_and_every_page_a_recipe() -> None:
    recipes = {recipe.name for recipe in list_recipes()}
    pages = {path.stem for path in (DOCS / "recipes").glob("*.md")} - {"README"}
    assert sorted(recipes - pages) == [], "recipes without a page in docs/recipes"
    assert sorted(pages - recipes) == [], "pages in docs/recipes without a recipe"


def test_every_page_names_its_recipe_its_command_and_its_paper() -> None:
    for recipe in list_recipes():
        path = DOCS / "recipes" / f"{recipe.name}.md"
        if not path.is_file():
            continue  # the test above names it
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# "), recipe.name
        assert f"--recipe {recipe.name}" in text or f"--recipes {recipe.name}" in text, recipe.name
        if recipe.source:
            assert recipe.source.split(" ")[0].rstrip(",") in text, f"{recipe.name}: name the paper's author"


def test_the_list_of_recipes_is_current() -> None:
    written = runpy.run_path(str(DOCS / "recipe_index.py"))["index"]()
    assert (DOCS / "recipes" / "README.md").read_text(encoding="utf-8") == written, (
        "stale: run `python docs/recipe_index.py docs/recipes/README.md` and commit it"
    )
