"""rlrepro: does this agent reproduce that paper's numbers?"""

from pkgutil import extend_path

__version__ = "0.1.0"

# agents/, envs/ and experiments/ stand beside this folder in a checkout and are installed inside it, as
# rlrepro.agents and so on. Where the checkout's rlrepro/ is imported (the current folder comes first on
# sys.path) but another one is installed, this line lets those three be found in the installed one.
__path__ = extend_path(__path__, __name__)
