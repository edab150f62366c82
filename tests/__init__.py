"""The tests mirror the packages of gatewayd; support/ holds what several of them need."""
