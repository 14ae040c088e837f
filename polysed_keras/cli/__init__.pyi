from .main import build_parser as build_parser
from .parsers import fold_lists as fold_lists
