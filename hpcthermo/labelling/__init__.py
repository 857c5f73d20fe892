"""Labels of structures by electronic-structure codes: recipes, selection, and calculations as tasks of a campaign."""
