"""Where studies become run folders: one run, the members of a sweep in one process or several, and their resumption."""
