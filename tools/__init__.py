"""For maintainers: fill the pages' tables and the checklist, take the tour's screenshots."""
