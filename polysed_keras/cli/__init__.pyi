from .parsers import build_parser as build_parser, fold_lists as fold_lists
