import sys


def main():
    if sys.argv[1] == "train":
        from hotlap.train import main as m

        m(sys.argv[2])
