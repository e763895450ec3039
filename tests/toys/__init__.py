"""Small problems, papers, cells and files that several folders of tests share."""
