"""Messages over a network with Flower: bytes in, bytes out.

Server side: `superlink.SuperLink`, `link.FlowerLink`; device side: `device.FlowerDevice`. Nothing
here knows what a message means, and no code travels: Flower's processes run beside ours, which
take and finish the tasks that Flower would start an app for.
"""
