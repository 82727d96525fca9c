"""The site, the course and its exercises. With this file, ``python -m docs.exercises`` means this folder."""
