"""Where two texts differ, in big steps: nobody looks at ten thousand documents to find the one that changed."""

_STEP = 1 << 16


def common_ends(old: str, new: str) -> tuple[int, int]:
    """How many characters at the beginning, and then at the end, two texts have in common."""
    prefix = _common_prefix(old, new)
    return prefix, _common_suffix(old, new, min(len(old), len(new)) - prefix)


def _common_prefix(old: str, new: str) -> int:
    size = 0
    step = _STEP
    most = min(len(old), len(new))
    while size < most and step:
        if old[size : size + step] == new[size : size + step] and size + step <= most:
            size += step
        elif step > 1:
            step //= 2
        else:
            break
    return size


def _common_suffix(old: str, new: str, most: int) -> int:
    """At most `most` characters."""
    size = 0
    step = _STEP
    while size < most:
        ahead = size + step
        if (
            ahead <= most
            and old[len(old) - ahead : len(old) - size] == new[len(new) - ahead : len(new) - size]
        ):
            size = ahead
        elif step > 1:
            step //= 2
        else:
            break
    return size
