"""The client verbs and the command line: what a person types, turned into calls of the layers below."""
