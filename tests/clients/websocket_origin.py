"""The suite's own echo server, for Python 2.7. Arguments: its address and port, and the port that clients use."""

import sys

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, binary):
        self.sendMessage(payload, binary)


factory = WebSocketServerFactory("ws://%s:%s" % (sys.argv[1], sys.argv[2]), externalPort=int(sys.argv[3]))
factory.protocol = Echo
factory.setProtocolOptions(failByDrop=False)
reactor.listenTCP(int(sys.argv[2]), factory, interface=sys.argv[1])
reactor.run()
