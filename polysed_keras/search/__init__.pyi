from .space import read_search as read_search
from .tuner import export_best as export_best, run_search as run_search
